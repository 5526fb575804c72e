// Portable noise, version 1, in JavaScript, written from exports/NOISE.md alone.
//
//   node noise.mjs [--double] SEED COUNT DIM START [SEED COUNT DIM START ...] > rows.f32
//
// writes raw little-endian float32, row after row; with --double the doubles from which they are rounded.
//
// JavaScript numbers are IEEE doubles and its engines never fuse a product with a sum; the 64-bit integers are BigInts.
import { writeSync } from "node:fs";

const GOLDEN = 0x9e3779b97f4a7c15n;
const wrap = (x) => BigInt.asUintN(64, x);

function mix(x) {
  x = wrap((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = wrap((x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}

function factorial(n) {
  return n < 2 ? 1 : n * factorial(n - 1);
}

const sign = (k) => (k % 2 === 0 ? 1 : -1);
const ATANH = Array.from({ length: 11 }, (_, k) => 1 / (2 * k + 1));
const COS = Array.from({ length: 9 }, (_, k) => sign(k) / factorial(2 * k));
const SIN = Array.from({ length: 9 }, (_, k) => sign(k) / factorial(2 * k + 1));

const polynomial = (c, y) => c.reduceRight((total, coefficient) => coefficient + y * total);

function naturalLog(u) {
  let m = u;
  let e = 0;
  while (m < 0.7071067811865476) {
    m *= 2;
    e -= 1;
  }
  const t = (m - 1) / (m + 1);
  return e * 0.6931471805599453 + 2 * t * polynomial(ATANH, t * t);
}

function boxMuller(a, b) {
  const u1 = Number((a >> 11n) + 1n) * 2 ** -53;
  const u2 = Number(b >> 11n) * 2 ** -53;
  const radius = Math.sqrt(-2 * naturalLog(u1));

  const q = Math.floor(4 * u2 + 0.5);
  const x = 6.283185307179586 * (u2 - 0.25 * q);
  const c = polynomial(COS, x * x);
  const s = x * polynomial(SIN, x * x);
  const [cos, sin] = [[c, s], [-s, c], [-c, -s], [s, -c]][q % 4];
  return [radius * cos, radius * sin];
}

function noise(seed, count, dim, start) {
  const rows = new Float64Array(count * dim);
  const streamKey = mix(wrap(seed + GOLDEN));
  for (let row = 0; row < count; row++) {
    const itemKey = mix(wrap(streamKey + GOLDEN * (start + BigInt(row) + 1n)));
    for (let d = 0; d < dim; d += 2) {
      const a = mix(wrap(itemKey + GOLDEN * BigInt(d + 1)));
      const b = mix(wrap(itemKey + GOLDEN * BigInt(d + 2)));
      const [even, odd] = boxMuller(a, b);
      rows[row * dim + d] = even;
      if (d + 1 < dim) rows[row * dim + d + 1] = odd;
    }
  }
  return rows;
}

function littleEndian(values, asDouble) {
  const size = asDouble ? 8 : 4;
  const bytes = Buffer.alloc(size * values.length);
  values.forEach((value, i) => (asDouble ? bytes.writeDoubleLE(value, 8 * i) : bytes.writeFloatLE(value, 4 * i)));
  return bytes;
}

const asDouble = process.argv[2] === "--double";
const args = process.argv.slice(asDouble ? 3 : 2);
if (args.length === 0 || args.length % 4 !== 0) {
  console.error("usage: node noise.mjs [--double] SEED COUNT DIM START [SEED COUNT DIM START ...]");
  process.exit(2);
}
for (let i = 0; i < args.length; i += 4) {
  const [seed, count, dim, start] = args.slice(i, i + 4);
  const bytes = littleEndian(noise(BigInt(seed), Number(count), Number(dim), BigInt(start)), asDouble);
  for (let sent = 0; sent < bytes.length; ) sent += writeSync(1, bytes, sent);
}
