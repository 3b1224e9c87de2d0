// Runs a graph of ATen operations that torch.export wrote. Every shape is fixed, so each operation is prepared once:
// its result is allocated, its indices are worked out, and what remains is a function that fills the result.
//
//   const graph = new Graph(description, tensors);
//   graph.set("token", [5]);
//   const { logits } = graph.run(["logits"]);
"use strict";

const ARRAYS = { float: Float32Array, int: Float64Array, bool: Uint8Array }; // doubles hold integers beyond 2^31

const product = (shape) => shape.reduce((a, b) => a * b, 1);

function contiguous(shape) {
  const strides = new Array(shape.length);
  for (let i = shape.length - 1, step = 1; i >= 0; step *= shape[i--]) strides[i] = step;
  return strides;
}

// Numbers in memory, seen through a shape and strides, as in torch.
class Tensor {
  constructor(data, shape, strides = contiguous(shape), offset = 0) {
    Object.assign(this, { data, shape, strides, offset });
  }

  static empty(shape, type = "float") {
    return new Tensor(new ARRAYS[type](product(shape)), shape);
  }

  get size() { return product(this.shape); }

  get isContiguous() {
    const plain = contiguous(this.shape), isWhole = this.offset === 0 && this.data.length === this.size;
    return isWhole && plain.every((s, i) => this.shape[i] === 1 || s === this.strides[i]);
  }

  seen(shape, strides, offset = this.offset) {
    return new Tensor(this.data, shape, strides, offset);
  }

  // Where each element of this tensor, broadcast to `shape`, lies in the memory.
  places(shape = this.shape) {
    const lead = shape.length - this.shape.length;
    const strides = shape.map((n, i) => (i < lead || this.shape[i - lead] === 1 ? 0 : this.strides[i - lead]));
    const places = new Int32Array(product(shape));
    const index = new Array(shape.length).fill(0);
    for (let i = 0, at = this.offset; i < places.length; i++) {
      places[i] = at;
      for (let d = shape.length - 1; d >= 0; d--) {
        at += strides[d];
        if (++index[d] < shape[d]) break;
        at -= strides[d] * shape[d];
        index[d] = 0;
      }
    }
    return places;
  }
}

// ---- Preparing operations. Each takes (node, ...arguments) and returns [result, fill]; views need no fill. ----

const dimension = (tensor, d) => (d < 0 ? d + Math.max(1, tensor.shape.length) : d);

function result(node) {
  return Tensor.empty(node.shape, node.type);
}

// A copy of `x` in contiguous memory, if it is not there already: [tensor, fill].
function dense(x) {
  if (x.isContiguous) return [x, null];
  const out = new Tensor(new x.data.constructor(x.size), x.shape);
  return [out, copying(out, x)];
}

function copying(out, x) {
  const from = x.places(), source = x.data, into = out.data;
  return () => {
    for (let i = 0; i < from.length; i++) into[i] = source[from[i]];
  };
}

function reshaped(node, x) {
  const wide = (shape) => shape.filter((n) => n !== 1);
  if (wide(node.shape).join() === wide(x.shape).join()) {
    // Only dimensions of one element come and go.
    const strides = x.strides.filter((_, d) => x.shape[d] !== 1);
    return [x.seen(node.shape, node.shape.map((n) => (n === 1 ? 0 : strides.shift())))];
  }
  const [plain, fill] = dense(x);
  return [plain.seen(node.shape, contiguous(node.shape)), fill];
}

// f applied to each element.
function each(f) {
  return (node, x, ...more) => {
    const out = result(node), to = out.data, from = x.data, g = more.length ? (v) => f(v, ...more) : f;
    if (x.isContiguous) return [out, () => { for (let i = 0; i < to.length; i++) to[i] = g(from[i]); }];
    const places = x.places();
    return [out, () => { for (let i = 0; i < to.length; i++) to[i] = g(from[places[i]]); }];
  };
}

// f applied to each pair of elements, after broadcasting; either side may be a number.
function pairs(f) {
  return (node, a, b, { alpha = 1 } = {}) => {
    const out = result(node), to = out.data, n = to.length, g = alpha === 1 ? f : (x, y) => f(x, alpha * y);
    if (!(a instanceof Tensor)) return each((y) => g(a, y))(node, b);
    if (!(b instanceof Tensor)) return each((x) => g(x, b))(node, a);
    const x = a.data, y = b.data;
    if (a.isContiguous && b.isContiguous && x.length === n && y.length === n)
      return [out, () => { for (let i = 0; i < n; i++) to[i] = g(x[i], y[i]); }];
    const from = a.places(node.shape), and = b.places(node.shape);
    return [out, () => { for (let i = 0; i < n; i++) to[i] = g(x[from[i]], y[and[i]]); }];
  };
}

// A function f(numbers, ...options) of all the numbers along some dimensions (none given: along all).
function reduction(f) {
  return (node, x, dims = [], ...options) => {
    const every = x.shape.map((_, d) => d), chosen = new Set([dims ?? []].flat().map((d) => dimension(x, d)));
    const over = chosen.size ? every.filter((d) => chosen.has(d)) : every;
    const order = [...every.filter((d) => !over.includes(d)), ...over];
    const places = x.seen(order.map((d) => x.shape[d]), order.map((d) => x.strides[d])).places();
    const out = result(node), to = out.data, from = x.data;
    const numbers = new Float64Array(product(over.map((d) => x.shape[d])));
    return [out, () => {
      for (let i = 0, at = 0; i < to.length; i++) {
        for (let k = 0; k < numbers.length; k++) numbers[k] = from[places[at++]];
        to[i] = f(numbers, ...options);
      }
    }];
  };
}

function total(numbers) {
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += numbers[i];
  return sum;
}

function variance(numbers, { correction = 1 } = {}) {
  const mean = total(numbers) / numbers.length;
  return total(numbers.map((x) => (x - mean) ** 2)) / Math.max(0, numbers.length - correction);
}

// A function of each row along one dimension: f(numbers, start, step, count, into).
function rowwise(f) {
  return (node, x, dim) => {
    const [plain, fill] = dense(x), out = result(node);
    const d = dimension(x, dim), step = contiguous(x.shape)[d] ?? 1, count = x.shape[d] ?? 1;
    return [out, () => {
      fill?.();
      for (let block = 0; block < plain.data.length; block += step * count)
        for (let i = 0; i < step; i++) f(plain.data, block + i, step, count, out.data);
    }];
  };
}

function softmaxed(isLog) {
  return rowwise((x, start, step, count, out) => {
    let most = -Infinity, sum = 0;
    const end = start + step * count;
    for (let i = start; i < end; i += step) if (x[i] > most) most = x[i];
    for (let i = start; i < end; i += step) sum += isLog ? Math.exp(x[i] - most) : (out[i] = Math.exp(x[i] - most));
    const log = Math.log(sum);
    for (let i = start; i < end; i += step) out[i] = isLog ? x[i] - most - log : out[i] / sum;
  });
}

// x (rows, inputs) times a weight (outputs, inputs), plus the bias.
function linear(node, x, weight, bias) {
  const [plain, fill] = dense(x), [w, fillWeight] = dense(weight), [add] = bias ? dense(bias) : [], out = result(node);
  const [O, K] = weight.shape, W = w.data, rows = plain.size / K, fast = node.weights?.takes(W, K);
  return [out, () => {
    fill?.();
    fillWeight?.();
    for (let r = 0; r < rows; r++) {
      const X = plain.data.subarray(r * K, (r + 1) * K), Y = out.data.subarray(r * O, (r + 1) * O);
      for (let o = fast ? node.weights.multiply(X, W, Y, K, O) : 0; o < O; o++) {
        let sum = 0;
        for (let k = 0, at = o * K; k < K; k++) sum += X[k] * W[at + k];
        Y[o] = sum;
      }
      if (add) for (let o = 0; o < O; o++) Y[o] += add.data[o];
    }
  }];
}

// (N, M, K) times (N, K, P), either of them seen through strides: the inner loop runs where memory is contiguous.
function batched(node, a, b) {
  const out = result(node), [N, M, K] = a.shape, P = b.shape[2], A = a.data, B = b.data, Y = out.data;
  const [an, am, ak] = a.strides, [bn, bk, bp] = b.strides, sums = new Float64Array(P);
  return [out, () => {
    for (let n = 0; n < N; n++)
      for (let m = 0; m < M; m++) {
        const a0 = a.offset + n * an + m * am, b0 = b.offset + n * bn, y = (n * M + m) * P;
        if (bk === 1) {
          for (let p = 0; p < P; p++) {
            let sum = 0;
            for (let k = 0, at = b0 + p * bp; k < K; k++) sum += A[a0 + k * ak] * B[at + k];
            Y[y + p] = sum;
          }
        } else {
          sums.fill(0);
          for (let k = 0; k < K; k++) {
            const v = A[a0 + k * ak];
            if (v !== 0) for (let p = 0, at = b0 + k * bk; p < P; p++) sums[p] += v * B[at + p * bp];
          }
          Y.set(sums, y);
        }
      }
  }];
}

function layerNorm(node, x, normalized, weight, bias, eps) {
  const [plain, fill] = dense(x), C = product(normalized), rows = x.size / C;
  const out = Tensor.empty(node.shape[0]), mean = Tensor.empty(node.shape[1]), scale = Tensor.empty(node.shape[2]);
  const [w, b] = [weight, bias].map((t) => (t ? dense(t)[0].data : null)), X = plain.data, Y = out.data;
  return [[out, mean, scale], () => {
    fill?.();
    for (let r = 0; r < rows; r++) {
      let sum = 0, square = 0;
      for (let i = r * C; i < (r + 1) * C; i++) sum += X[i];
      for (let i = r * C; i < (r + 1) * C; i++) square += (X[i] - sum / C) ** 2;
      const middle = (mean.data[r] = sum / C), by = (scale.data[r] = 1 / Math.sqrt(square / C + eps));
      for (let i = 0, at = r * C; i < C; i++, at++) Y[at] = (X[at] - middle) * by * (w ? w[i] : 1) + (b ? b[i] : 0);
    }
  }];
}

// Slices of `x` along `dim`, chosen by integers: (..., indices, ...).
function selected(node, x, dim, indices) {
  const out = result(node), d = dimension(x, dim), count = indices.size, at = indices.places(), I = indices.data;
  const inner = x.seen(x.shape.slice(d + 1), x.strides.slice(d + 1), 0).places();
  const outer = x.seen(x.shape.slice(0, d), x.strides.slice(0, d)).places();
  const length = x.shape[d], step = x.strides[d], from = x.data, to = out.data;
  return [out, () => {
    let i = 0;
    for (const o of outer)
      for (let k = 0; k < count; k++) {
        const index = I[at[k]], start = o + (index < 0 ? index + length : index) * step;
        for (const n of inner) to[i++] = from[start + n];
      }
  }];
}

// x[..., indices, ...] with one index tensor, or several that are all of one size and stand side by side.
function indexed(node, x, indices) {
  const used = indices.map((index, d) => [index, d]).filter(([index]) => index !== null);
  if (used.length === 1) return selected(node, x, used[0][1], used[0][0]);
  const out = result(node), first = used[0][1], last = used.at(-1)[1];
  if (last - first + 1 !== used.length) throw new Error("indices apart from one another");
  const shape = node.shape.slice(first, node.shape.length - (x.shape.length - last - 1));
  const lists = used.map(([index, d]) => [index.data, index.places(shape), x.strides[d], x.shape[d]]);
  const inner = x.seen(x.shape.slice(last + 1), x.strides.slice(last + 1), 0).places();
  const outer = x.seen(x.shape.slice(0, first), x.strides.slice(0, first)).places();
  return [out, () => {
    let i = 0;
    for (const o of outer)
      for (let k = 0; k < product(shape); k++) {
        let start = o;
        for (const [data, at, step, length] of lists) start += remainder(data[at[k]], length) * step;
        for (const n of inner) out.data[i++] = x.data[start + n];
      }
  }];
}

// x with the rows `index` of one dimension replaced. A cache that only this operation reads is changed in place.
function replaced(node, x, dim, index, source) {
  const out = node.inPlace ? x : result(node), start = node.inPlace ? null : copying(out, x);
  const d = dimension(x, dim), I = index.data, at = index.places();
  const from = source.places(x.shape.with(d, at.length)), S = source.data;
  const inner = product(x.shape.slice(d + 1)), outer = product(x.shape.slice(0, d)), length = x.shape[d];
  return [out, () => {
    start?.();
    let i = 0;
    for (let o = 0; o < outer; o++)
      for (let k = 0; k < at.length; k++) {
        const to = (o * length + I[at[k]]) * inner;
        for (let n = 0; n < inner; n++) out.data[to + n] = S[from[i++]];
      }
  }];
}

function put(node, x, indices, values, accumulate = false) {
  const dim = indices.findIndex((index) => index !== null);
  if (accumulate || indices.filter((index) => index !== null).length !== 1) throw new Error("such an index_put");
  return replaced(node, x, dim, indices[dim], values);
}

function joined(node, tensors, dim = 0) {
  const out = result(node), d = dimension(out, dim), fills = [];
  let begin = 0;
  for (const x of tensors.filter((t) => t.size)) {
    const into = out.seen(x.shape, out.strides, begin * out.strides[d]).places(), from = x.places();
    fills.push(() => { for (let i = 0; i < from.length; i++) out.data[into[i]] = x.data[from[i]]; });
    begin += x.shape[d];
  }
  return [out, () => fills.forEach((fill) => fill())];
}

function sliced(x, dim = 0, start, end, step = 1) {
  const d = dimension(x, dim), n = x.shape[d], bounded = (i) => Math.min(n, Math.max(0, i < 0 ? i + n : i));
  const from = bounded(start ?? 0), to = Math.max(from, bounded(end ?? n));
  const shape = x.shape.with(d, Math.ceil((to - from) / step));
  return x.seen(shape, x.strides.with(d, x.strides[d] * step), x.offset + from * x.strides[d]);
}

function pieces(x, sizes, dim = 0) {
  let from = 0;
  return sizes.map((size) => sliced(x, dim, from, (from += size)));
}

function padded(node, x, pad, value = 0) {
  const out = result(node);
  const before = x.shape.map((_, d) => pad[2 * (x.shape.length - 1 - d)] ?? 0);
  const offset = before.reduce((sum, n, d) => sum + n * out.strides[d], 0);
  const into = out.seen(x.shape, out.strides, offset).places(), from = x.places();
  return [out, () => {
    out.data.fill(value);
    for (let i = 0; i < from.length; i++) out.data[into[i]] = x.data[from[i]];
  }];
}

function filled(node, value) {
  const out = result(node);
  out.data.fill(value);
  return [out];
}

// erf to seven digits (Numerical Recipes, 6.2).
function erf(x) {
  const t = 1 / (1 + 0.5 * Math.abs(x));
  const high = -1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277));
  const low = 0.37409196 + t * (0.09678418 + t * (-0.18628806 + t * (0.27886807 + t * high)));
  const y = 1 - t * Math.exp(-x * x - 1.26551223 + t * (1.00002368 + t * low));
  return x < 0 ? -y : y;
}

const gelu = (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));
const geluTanh = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const remainder = (a, b) => a - Math.floor(a / b) * b;
const same = (node, x) => [x];

const OPS = {
  // Views: the same memory, seen otherwise.
  view: reshaped, _unsafe_view: reshaped, reshape: reshaped, alias: same, detach: same, clone: same,
  lift_fresh_copy: same, unsqueeze: reshaped, squeeze: reshaped,
  permute: (node, x, dims) => {
    const order = dims.map((d) => dimension(x, d));
    return [x.seen(order.map((d) => x.shape[d]), order.map((d) => x.strides[d]))];
  },
  transpose: (node, x, a, b) => {
    const dims = x.shape.map((_, d) => d);
    [dims[dimension(x, a)], dims[dimension(x, b)]] = [dimension(x, b), dimension(x, a)];
    return OPS.permute(node, x, dims);
  },
  expand: (node, x) => {
    const lead = node.shape.length - x.shape.length;
    const strides = node.shape.map((n, d) => (d < lead || x.shape[d - lead] !== n ? 0 : x.strides[d - lead]));
    return [x.seen(node.shape, strides)];
  },
  slice: (node, x, dim, start, end, step) => [sliced(x, dim, start, end, step)],
  select: (node, x, dim, index) => {
    const d = dimension(x, dim), at = index < 0 ? index + x.shape[d] : index;
    return [x.seen(x.shape.toSpliced(d, 1), x.strides.toSpliced(d, 1), x.offset + at * x.strides[d])];
  },
  split_with_sizes: (node, x, sizes, dim) => [pieces(x, sizes, dim)],
  unfold: (node, x, dim, size, step) => {
    const d = dimension(x, dim);
    return [x.seen(node.shape, [...x.strides.with(d, x.strides[d] * step), x.strides[d]])];
  },
  getitem: (node, list, i) => [list[i]],
  // Element by element.
  add: pairs((a, b) => a + b), sub: pairs((a, b) => a - b), rsub: pairs((a, b) => b - a), mul: pairs((a, b) => a * b),
  div: pairs((a, b) => a / b), maximum: pairs(Math.max), minimum: pairs(Math.min),
  pow: (node, a, b) => (b === 2 ? each((x) => x * x) : pairs(Math.pow))(node, a, b),
  remainder: pairs(remainder), fmod: pairs((a, b) => a % b), atan2: pairs(Math.atan2),
  gt: pairs((a, b) => a > b), ge: pairs((a, b) => a >= b), lt: pairs((a, b) => a < b), le: pairs((a, b) => a <= b),
  eq: pairs((a, b) => a === b), ne: pairs((a, b) => a !== b),
  logical_and: pairs((a, b) => a && b ? 1 : 0), logical_or: pairs((a, b) => a || b ? 1 : 0),
  bitwise_and: pairs((a, b) => a & b), bitwise_or: pairs((a, b) => a | b),
  neg: each((x) => -x), abs: each(Math.abs), exp: each(Math.exp), log: each(Math.log), sqrt: each(Math.sqrt),
  log1p: each(Math.log1p), expm1: each(Math.expm1), log2: each(Math.log2),
  rsqrt: each((x) => 1 / Math.sqrt(x)), reciprocal: each((x) => 1 / x), sin: each(Math.sin), cos: each(Math.cos),
  tanh: each(Math.tanh), sigmoid: each(sigmoid), relu: each((x) => (x > 0 ? x : 0)), erf: each(erf),
  sign: each(Math.sign), silu: each((x) => x * sigmoid(x)), bitwise_not: each((x) => (x ? 0 : 1)),
  floor: each(Math.floor), ceil: each(Math.ceil), trunc: each(Math.trunc), logical_not: each((x) => (x ? 0 : 1)),
  gelu: (node, x, { approximate } = {}) => each(approximate === "tanh" ? geluTanh : gelu)(node, x),
  leaky_relu: each((x, slope = 0.01) => (x > 0 ? x : slope * x)),
  elu: each((x, alpha = 1, scale = 1, input = 1) => (x > 0 ? scale * x : scale * alpha * Math.expm1(input * x))),
  hardtanh: each((x, low = -1, high = 1) => Math.min(high, Math.max(low, x))),
  clamp: each((x, low, high) => Math.min(high ?? Infinity, Math.max(low ?? -Infinity, x))),
  clamp_min: each((x, low) => Math.max(low, x)), clamp_max: each((x, high) => Math.min(high, x)),
  _to_copy: (node, x) => each({ int: Math.trunc, bool: (v) => (v ? 1 : 0), float: (v) => v }[node.type])(node, x),
  where: (node, test, a, b) => {
    const [c, p, q] = [test, a, b].map((t) => (t instanceof Tensor ? t : new Tensor([t], [])));
    const [at, from, or] = [c, p, q].map((t) => t.places(node.shape)), out = result(node), n = out.size;
    return [out, () => { for (let i = 0; i < n; i++) out.data[i] = c.data[at[i]] ? p.data[from[i]] : q.data[or[i]]; }];
  },
  // Along dimensions.
  sum: reduction(total), mean: reduction((x) => total(x) / x.length), var: reduction(variance),
  amax: reduction((x) => x.reduce((a, b) => Math.max(a, b))),
  amin: reduction((x) => x.reduce((a, b) => Math.min(a, b))),
  prod: reduction((x) => x.reduce((a, b) => a * b, 1)), any: reduction((x) => (x.some(Boolean) ? 1 : 0)),
  _softmax: softmaxed(false), _log_softmax: softmaxed(true),
  cumsum: rowwise((x, start, step, count, out) => {
    for (let i = 0, sum = 0, at = start; i < count; i++, at += step) out[at] = sum += x[at];
  }),
  native_layer_norm: layerNorm,
  // Products.
  linear, bmm: batched,
  mm: (node, a, b) => linear(node, a, b.seen([b.shape[1], b.shape[0]], [b.strides[1], b.strides[0]])),
  addmm: (node, bias, a, b) => linear(node, a, b.seen([b.shape[1], b.shape[0]], [b.strides[1], b.strides[0]]), bias),
  // Look-ups.
  embedding: (node, table, indices) => selected(node, table, 0, indices), index_select: selected, index: indexed,
  index_put: put, cat: joined, constant_pad_nd: padded,
  flip: (node, x, dims) => {
    const turned = new Set(dims.map((d) => dimension(x, d)));
    const offset = [...turned].reduce((sum, d) => sum + (x.shape[d] - 1) * x.strides[d], x.offset);
    const out = result(node), seen = x.seen(x.shape, x.strides.map((s, d) => (turned.has(d) ? -s : s)), offset);
    return [out, copying(out, seen)];
  },
  // Constants.
  arange: (node, start, end, step = 1) => {
    const by = step instanceof Object ? 1 : step;
    return [new Tensor(result(node).data.map((_, i) => start + i * by), node.shape)];
  },
  full: (node, shape, value) => filled(node, value), full_like: (node, x, value) => filled(node, value),
  scalar_tensor: filled,
};

// ---- The graph. ----

class Graph {
  // `tensors` has the weights by name, in the memory of `weights`.
  constructor(description, tensors, weights) {
    this.inputs = {};
    this.weights = weights;
    this.values = { ...tensors };
    this.steps = new Map(); // node -> { fill, needs }
    this.outputs = description.outputs;
    this.plans = new Map();
    for (const [name, { shape, type }] of Object.entries(description.inputs))
      this.inputs[name] = this.values[name] = Tensor.empty(shape, type);
    this.uses = this.count(description);
    for (const node of description.nodes) this.prepare(node);
  }

  // How often each value is read.
  count({ nodes }) {
    const uses = {};
    const note = (value) => {
      if (Array.isArray(value)) value.forEach(note);
      else if (isName(value)) uses[value.slice(1)] = (uses[value.slice(1)] ?? 0) + 1;
    };
    nodes.forEach((node) => note(node.args));
    return uses;
  }

  prepare(node) {
    const op = OPS[node.op.split(".")[0]];
    if (!op) throw new Error(`the operation ${node.op}`);
    const needs = [];
    const real = (value) => {
      if (Array.isArray(value)) return value.map(real);
      if (!isName(value)) return NUMBERS[value] ?? value;
      needs.push(value.slice(1));
      return this.values[value.slice(1)];
    };
    const args = node.args.map(real), given = node.kwargs ? [node.kwargs] : [];
    const cache = node.op.startsWith("index_put") ? node.args[0].slice(1) : "";
    const inPlace = cache in this.inputs && this.uses[cache] === 1;
    const [value, fill] = op({ ...node, inPlace, weights: this.weights }, ...args, ...given);
    this.values[node.name] = value;
    // What depends on no input is worked out now, once.
    const isFixed = needs.every((name) => !(name in this.inputs) && (this.steps.get(name)?.isFixed ?? true));
    if (isFixed) fill?.();
    this.steps.set(node.name, { fill: isFixed ? null : fill, needs, isFixed });
  }

  set(name, numbers) {
    this.inputs[name].data.set(numbers);
  }

  // The values of some outputs; only what they need is computed.
  run(names) {
    const key = names.join();
    if (!this.plans.has(key)) this.plans.set(key, this.plan(names));
    for (const fill of this.plans.get(key)) fill();
    return Object.fromEntries(names.map((name) => [name, this.read(this.outputs[name])]));
  }

  read(output) {
    return Array.isArray(output) ? output.map((one) => this.read(one)) : this.values[output];
  }

  plan(names) {
    const wanted = new Set(names.map((name) => this.outputs[name]).flat(Infinity));
    const order = [...this.steps.keys()];
    for (const name of order.toReversed())
      if (wanted.has(name)) this.steps.get(name).needs.forEach((need) => wanted.add(need));
    return order.filter((name) => wanted.has(name)).map((name) => this.steps.get(name).fill).filter(Boolean);
  }
}

const NUMBERS = { Infinity, "-Infinity": -Infinity, NaN };
const isName = (value) => typeof value === "string" && value.startsWith("%");
