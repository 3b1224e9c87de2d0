// A trained model: reads tokens, samples, and says what it computed on the way.
"use strict";

class Model {
  constructor(description, bytes, memory = readTensors(description.tensors, bytes)) {
    const { graph, lens, size } = description;
    Object.assign(this, size, {
      description,
      memory,
      graph: new Graph(graph, ...memory),
      lens: new Graph(lens, ...memory),
    });
    this.heads = new Float32Array(this.layers * this.headCount).fill(1);
    this.keepsTokens = "recent" in this.graph.inputs;
    this.clear();
  }

  // Another reader with the same weights.
  twin() {
    return new Model(this.description, null, this.memory);
  }

  // Forget the text read so far.
  clear() {
    this.length = 0;
    if (this.keepsTokens) this.graph.inputs.recent.data.fill(0);
  }

  // Go back to place `at` of a text that was read: the cache still holds what comes before.
  goTo(at, ids) {
    this.length = at;
    if (!this.keepsTokens) return;
    const recent = this.graph.inputs.recent.data;
    recent.forEach((_, i) => {
      recent[i] = (ids[at - recent.length + i] ?? -1) + 1;
    });
  }

  // Read one token; returns the outputs that `names` asks for, in memory that the next call reuses.
  read(token, names = []) {
    this.graph.set("token", [token]);
    this.graph.set("place", [this.length++]);
    this.graph.set("heads", this.heads);
    const wanted = ["layers", ...(this.keepsTokens ? ["recent"] : []), ...names];
    const found = this.graph.run(wanted);
    if (this.keepsTokens) {
      const { data, offset, size } = found.recent;
      this.graph.set("recent", data.slice(offset, offset + size));
    }
    return found;
  }

  // Yield the tokens after `prompt`, by the library's rule: when the context is full, its latest half is read again. At
  // one of `ends` the text ends, and the next begins with `start` if texts have a beginning.
  *generate(prompt, { count = Infinity, start = null, ends = [], ...settings } = {}) {
    const choose = sampler(settings);
    let window = prompt.slice(-this.context),
      fresh = window;
    this.clear();
    for (let n = 0; n < count; n++) {
      for (const token of fresh.slice(0, -1)) {
        this.read(token);
        yield null; // nothing new yet: let the page draw
      }
      const { logits } = this.read(fresh.at(-1), ["logits"]);
      const token = choose(logits.data);
      yield token;
      if (ends.includes(token)) {
        if (start === null) return;
        fresh = window = [start];
        this.clear();
        continue;
      }
      window = [...window, token];
      fresh = [token];
      if (window.length > this.context) {
        fresh = window = window.slice(-Math.max(1, this.context >> 1));
        this.clear();
      }
    }
  }

  // The logits if the residual stream `x` were already the last.
  look(x) {
    this.lens.set("x", x);
    return this.lens.run(["logits"]).logits.data;
  }
}

// ---- The weights, as the page stores them. ----

// The tensors of `table` in `bytes`, as numbers that JavaScript computes with, and the memory that holds them.
function readTensors(table, bytes) {
  const half = halves(),
    found = {},
    shapes = Object.values(table).map((entry) => entry.shape);
  const room = shapes.reduce((sum, shape) => sum + product(shape) + 4, 0);
  const weights = new Weights(room, Math.max(4, ...shapes.filter((shape) => shape.length === 2).flat()));
  for (const [name, { shape, type, start, scale }] of Object.entries(table)) {
    const n = product(shape),
      memory = bytes.buffer,
      at = bytes.byteOffset + start;
    const data = type === "int32" ? new Float64Array(n) : weights.allocate(n);
    if (type === "float16")
      new Uint16Array(memory, at, n).forEach((bits, i) => {
        data[i] = half[bits];
      });
    else if (type === "float32") data.set(new Float32Array(memory, at, n));
    else if (type === "int32") data.set(new Int32Array(memory, at, n));
    else {
      const rows = new Float32Array(memory, bytes.byteOffset + scale, shape[0]),
        width = n / shape[0];
      new Int8Array(memory, at, n).forEach((value, i) => {
        data[i] = value * rows[Math.floor(i / width)];
      });
    }
    found[name] = new Tensor(data, shape);
  }
  return [found, weights];
}

// The number that each pattern of 16 bits stands for in float16.
function halves() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1,
      exponent = (bits >> 10) & 31,
      fraction = bits & 1023;
    if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
    else table[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }
  return table;
}

// ---- Sampling, as the library's `sampling.sample` does it. ----

// A function logits -> token. The same seed gives the same tokens as `generator="counter"` in Python.
function sampler({ temperature = 0.8, topK = null, topP = null, seed = 0 }) {
  const random = uniforms(seed);
  return (logits) => (temperature < 1e-6 ? greatest(logits) : sample(logits, temperature, topK, topP, random()));
}

function greatest(x) {
  let best = 0;
  for (let i = 1; i < x.length; i++) if (x[i] > x[best]) best = i;
  return best;
}

function sample(logits, temperature, topK, topP, u) {
  let order = null;
  if (topK !== null || (topP !== null && topP < 1)) {
    order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b).slice(0, topK ?? logits.length);
    logits = Float32Array.from(order, (i) => logits[i]);
  }
  const p = softmax(logits, temperature);
  if (order && topP !== null && topP < 1) {
    for (let i = 0, sum = 0; i < p.length; i++) {
      sum += p[i];
      if (Math.fround(Math.fround(sum) - p[i]) >= topP) p[i] = 0;
    }
  }
  const sums = new Float32Array(p.length);
  for (let i = 0, sum = 0; i < p.length; i++) sums[i] = sum += p[i];
  const bound = Math.fround(u * sums.at(-1));
  const choice = Math.min(sums.findIndex((sum) => sum > bound) >>> 0, p.length - 1);
  return order ? order[choice] : choice;
}

function softmax(logits, temperature = 1) {
  const most = logits[greatest(logits)],
    p = Float32Array.from(logits, (x) => Math.exp((x - most) / temperature));
  const sum = p.reduce((a, b) => a + b, 0);
  return p.map((x) => x / sum);
}

// Random numbers in [0, 1): number n of a seed is SplitMix64's output n (https://doi.org/10.1145/2714064.2660195).
function uniforms(seed) {
  let state = BigInt.asUintN(64, BigInt(seed));
  const mixed = (x, shift, factor) => BigInt.asUintN(64, (x ^ (x >> shift)) * factor);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    const x = mixed(mixed(state, 30n, 0xbf58476d1ce4e5b9n), 27n, 0x94d049bb133111ebn);
    return Number((x ^ (x >> 31n)) >> 40n) / 2 ** 24;
  };
}
