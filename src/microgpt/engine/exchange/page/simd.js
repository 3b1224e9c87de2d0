// Products of a matrix and a vector by WebAssembly's 128-bit instructions, four numbers at a time: the weights lie in
// its memory. The program is assembled here, byte by byte (https://webassembly.github.io/spec/core/binary/).
"use strict";

const unsigned = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)]); // LEB128
const list = (items) => [...unsigned(items.length), ...items.flat()];
const section = (id, ...items) => [id, ...list(list(items).map((byte) => [byte]))];
const string = (text) => list([...text].map((c) => [c.charCodeAt(0)]));

const I32 = 0x7f, V128 = 0x7b;
const get = (local) => [0x20, local];
const set = (local, value) => [...value, 0x21, local];
const plus = (a, b) => [...a, ...b, 0x6a];
const grow = (local, by) => set(local, plus(get(local), by));
const number = (n) => [0x41, n]; // below 64
const loop = (body, low, high) => [0x03, 0x40, ...body, ...get(low), ...get(high), 0x49, 0x0d, 0, 0x0b]; // low < high
const four = (address) => [...address, 0xfd, 0, 4, 0]; // the four numbers there
const zero = [0xfd, 12, ...new Array(16).fill(0)];
const times = (a, b) => [...a, ...b, 0xfd, 0xe6, 1];
const sum = (a, b) => [...a, ...b, 0xfd, 0xe4, 1];
const lane = (local, i) => [...get(local), 0xfd, 0x1f, i];
const across = (v) => [...lane(v, 0), ...lane(v, 1), 0x92, ...lane(v, 2), ...lane(v, 3), 0x92, 0x92];
const store = (address, offset, value) => [...address, ...value, 0x38, 2, offset];

// rows(x, w, y, end, width): y[o] = x . w[o], four rows a turn, until y reaches `end`; all are addresses in bytes.
function program() {
  const [x, w, y, end, width, at, stop, ...rest] = Array.from({ length: 16 }, (_, i) => i);
  const rows = rest.slice(0, 4), sums = rest.slice(4, 8), v = rest[8];
  const columns = loop([
    ...set(v, four(get(at))),
    ...rows.flatMap((row, i) => set(sums[i], sum(get(sums[i]), times(get(v), four(get(row)))))),
    ...rows.flatMap((row) => grow(row, number(16))),
    ...grow(at, number(16)),
  ], at, stop);
  const body = loop([
    ...set(at, get(x)),
    ...set(stop, plus(get(x), get(width))),
    ...rows.flatMap((row, i) => [...set(row, i ? plus(get(rows[i - 1]), get(width)) : get(w)), ...set(sums[i], zero)]),
    ...columns,
    ...sums.flatMap((v, i) => store(get(y), 4 * i, across(v))),
    ...set(w, get(rows[3])), // the last row's end is the next row's beginning
    ...grow(y, number(16)),
  ], y, end);
  const code = [...list([[6, I32], [5, V128]]), ...body, 0x0b];
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [0x60, ...list([[I32], [I32], [I32], [I32], [I32]]), 0]),
    ...section(2, [...string("page"), ...string("memory"), 2, 0, 1]),
    ...section(3, [0]),
    ...section(7, [...string("rows"), 0, 0]),
    ...section(10, list(code.map((byte) => [byte]))),
  ]);
}

// Memory for `count` numbers of weights, in which products are fast; where WebAssembly is forbidden, plain arrays.
class Weights {
  constructor(count, widest) {
    this.next = 0;
    try {
      const bytes = 4 * (count + 2 * widest) + 4096;
      const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
      this.rows = new WebAssembly.Instance(new WebAssembly.Module(program()), { page: { memory } }).exports.rows;
      this.buffer = memory.buffer;
      [this.x, this.y] = [this.allocate(widest), this.allocate(widest)];
    } catch {
      this.buffer = null;
    }
  }

  allocate(count) {
    if (!this.buffer) return new Float32Array(count);
    const at = this.next;
    this.next += Math.ceil(count / 4) * 16; // loads are fastest at multiples of 16
    return new Float32Array(this.buffer, at, count);
  }

  // Whether rows of `data`, `width` numbers each, can be multiplied here.
  takes(data, width) {
    return this.buffer !== null && data.buffer === this.buffer && width % 4 === 0 && width <= this.x.length;
  }

  // The products of x with the first rows of `data`, as many as come in fours: how many.
  multiply(x, data, y, width, count) {
    const some = Math.min(count, this.y.length) & ~3;
    this.x.set(x);
    if (some) this.rows(this.x.byteOffset, data.byteOffset, this.y.byteOffset, this.y.byteOffset + 4 * some, 4 * width);
    y.set(this.y.subarray(0, some));
    return some;
  }
}
