// Latent-space arithmetic, outside the ONNX graphs: the encoder ends at (mean, log_var), the decoder starts at a code z.

import { noise } from "./noise.js";

/**
 * One code for each row: z = mean + exp(log_var / 2) * eps, in double precision and rounded once.
 *
 * Kingma & Welling 2014, section 2.4, arXiv:1312.6114.
 *
 * @param {{mean: Float32Array, logVar: Float32Array}} posterior  natural logs of *variances*
 * @param {number} dim                                            latent dimensions, the length of a row
 * @param {{seed?: number | bigint, start?: number | bigint}} options
 * @returns {Float32Array}
 */
export function reparameterise({ mean, logVar }, dim, { seed = 0, start = 0 } = {}) {
  if (mean.length !== logVar.length || mean.length % dim !== 0) {
    throw new RangeError(`mean has ${mean.length} values and logVar ${logVar.length}; give both as rows of ${dim}`);
  }
  const eps = noise(seed, mean.length / dim, dim, start);
  return Float32Array.from(mean, (m, i) => m + Math.exp(logVar[i] / 2) * eps[i]);
}

/**
 * The code at t of the way from a to b, along the great circle: (sin((1 - t) w) a + sin(t w) b) / sin(w), w the angle.
 *
 * It keeps the length that codes of the prior have in many dimensions; where no single circle joins them, the path is
 * straight. Shoemake 1985, "Animating rotation with quaternion curves".
 *
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {number} t  from 0, which gives a, to 1, which gives b
 * @returns {Float32Array}
 */
export function interpolate(a, b, t) {
  if (a.length !== b.length) throw new RangeError(`the codes have ${a.length} and ${b.length} values; give two of one length`);
  if (t === 0 || t === 1) return Float32Array.from(t === 0 ? a : b);
  const dot = (u, v) => u.reduce((total, value, i) => total + value * v[i], 0);
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  const angle = lengths > 0 ? Math.acos(Math.min(1, Math.max(-1, dot(a, b) / lengths))) : 0;
  const straight = Math.sin(angle) < 1e-6;
  const [p, q] = straight ? [1 - t, t] : [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  return Float32Array.from(a, (value, i) => p * value + q * b[i]);
}
