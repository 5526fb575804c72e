// Portable noise, version 1: standard normal numbers with the same bits on every machine and in every language.
//
// eps(seed, index, d) is a pure function of its three arguments, so that a row is the same in any batch. JavaScript's
// numbers are IEEE doubles and its engines never fuse a product with a sum; the 64-bit integers are BigInts. Only + - * /
// and sqrt are used, in the specification's order: Math.log, sin and cos differ between engines in their last bits.

export const NOISE_VERSION = "splitmix64-boxmuller-1";

const GOLDEN = 0x9e3779b97f4a7c15n;
const LAST = 2n ** 64n - 1n;

/**
 * Draw rows of noise: row i is that of (seed, start + i), whatever the batch.
 *
 * @param {number | bigint} seed     names the stream, 0 to 2^64 - 1
 * @param {number} count             rows
 * @param {number} dim               numbers in a row
 * @param {number | bigint} start    index of the first row, 0 to 2^64 - 1
 * @param {Function} Numbers         Float32Array rounds each double once, to nearest; Float64Array keeps it
 * @returns {Float32Array}           count * dim numbers, row after row
 */
export function noise(seed, count, dim, start = 0, Numbers = Float32Array) {
  const rows = new Numbers(size("count", count) * size("dim", dim));
  const first = word("start", start);
  if (count > 0 && first + BigInt(count) - 1n > LAST) {
    throw new RangeError(`start=${start}, count=${count}: the last index is 2^64 - 1; draw fewer rows`);
  }
  const streamKey = mix(wrap(word("seed", seed) + GOLDEN));
  for (let row = 0; row < count; row++) {
    const itemKey = mix(wrap(streamKey + GOLDEN * (first + BigInt(row) + 1n)));
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

const wrap = (x) => BigInt.asUintN(64, x);

/** splitmix64's finaliser: Steele, Lea & Flood 2014, with Vigna's constants. */
function mix(x) {
  x = wrap((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = wrap((x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}

/** Two random words -> two independent normal numbers in double precision, sqrt(-2 ln u1) * (cos, sin)(2 pi u2). */
export function boxMuller(a, b) {
  const u1 = Number((a >> 11n) + 1n) * 2 ** -53; // in (0, 1]
  const u2 = Number(b >> 11n) * 2 ** -53; // in [0, 1)
  const radius = Math.sqrt(-2 * naturalLog(u1));

  const quarter = Math.floor(4 * u2 + 0.5);
  const x = 6.283185307179586 * (u2 - 0.25 * quarter); // in [-pi/4, pi/4]
  const c = polynomial(COS, x * x);
  const s = x * polynomial(SIN, x * x);
  const [cos, sin] = [[c, s], [-s, c], [-c, -s], [s, -c]][quarter % 4];
  return [radius * cos, radius * sin];
}

/** ln(m 2^e) = e ln 2 + 2 atanh((m - 1) / (m + 1)), with m between sqrt(1/2) and sqrt(2). */
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

const factorial = (n) => (n < 2 ? 1 : n * factorial(n - 1));
const sign = (k) => (k % 2 === 0 ? 1 : -1);
const ATANH = Array.from({ length: 11 }, (_, k) => 1 / (2 * k + 1)); // atanh(t) / t in powers of t^2
const COS = Array.from({ length: 9 }, (_, k) => sign(k) / factorial(2 * k));
const SIN = Array.from({ length: 9 }, (_, k) => sign(k) / factorial(2 * k + 1)); // sin(x) / x in powers of x^2

const polynomial = (c, y) => c.reduceRight((total, coefficient) => coefficient + y * total);

function word(name, value) {
  const whole = typeof value === "bigint" || Number.isSafeInteger(value) ? BigInt(value) : -1n;
  if (whole < 0n || whole > LAST) {
    throw new RangeError(`${name}=${found(value)}: give a whole number from 0 to 2^64 - 1, as a BigInt above 2^53 - 1`);
  }
  return whole;
}

function size(name, value) {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${name}=${found(value)}: give a whole number, 0 or more`);
  return value;
}

/** A value for a message; where it is no number at all, with its type. */
function found(value) {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  return `${JSON.stringify(value) ?? String(value)} (${typeof value})`;
}
