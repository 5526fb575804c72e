// The proof: replay the golden vectors on this machine, and measure every deviation from them.

import { noise } from "./noise.js";

/**
 * Check the files, the noise bit for bit, the codes, and each half of the model and the round trip
 * x -> posterior -> z -> x_hat at batches of 1, 2, 7 and all items; of all items also the mean deviations, where golden.json
 * states how large they may be. Pixels are compared in grey levels.
 *
 * @param {import("./model.js").Model} model
 * @yields {{what: string, measured: number, tolerance: number, passed: boolean}}  one check after the other
 */
export async function* replay(model) {
  const check = (what, measured, tolerance) => ({ what, measured, tolerance, passed: measured <= tolerance });

  const files = new Map();
  const changed = [];
  for (const name of Object.keys(model.about.files)) {
    await model.file(name).then((bytes) => files.set(name, bytes), () => changed.push(name));
  }
  yield check(changed.length > 0 ? `changed: ${changed.join(", ")}` : `SHA-256 of ${files.size} files`, changed.length, 0);
  if (changed.length > 0) return; // there is nothing to measure against

  const golden = readGolden(files);
  const { x, mean, z, x_hat: xHat, log_var: logVar } = golden.arrays;
  const seed = BigInt(golden.seed);
  const posterior = { mean, logVar: logVar ?? new Float32Array(mean.length).fill(-Infinity) };

  yield check("noise, values with other bits", otherBits(noise(seed, golden.items, model.latent), golden.arrays.eps), 0);
  yield check("reparameterise", difference(model.reparameterise(posterior, { seed }), z), golden.latent_tolerance);

  const batches = [...[1, 2, 7].filter((size) => size < golden.items), golden.items];
  for (const batch of batches) {
    const rows = (array, width, run) => inBatches(array, width, batch, run);
    const found = [
      ["encode mean", "encoder", deviations(await rows(x, model.size, async (part) => (await model.encode(part)).mean), mean)],
      ...(logVar
        ? [["encode log_var", "encoder", deviations(await rows(x, model.size, async (part) => (await model.encode(part)).logVar), logVar)]]
        : []),
      ["decode", "decoder", deviations(await rows(z, model.latent, (part) => model.decode(part)), xHat, golden)],
      [
        "round trip",
        "round_trip",
        deviations(await rows(x, model.size, (part, start) => model.reconstruct(part, { seed, start })), xHat, golden),
      ],
    ];
    for (const [what, compared, { largest, mean: average }] of found) {
      yield check(`${what}, batch ${batch}`, largest, golden.tolerances[compared]);
      const allowed = golden.tolerances[`mean_${compared}`];
      if (batch === golden.items && allowed !== undefined) yield check(`${what}, mean deviation`, average, allowed);
    }
  }
}

/** The golden items of a model that takes float32 values: real items of its test data. Row after row, as a Float32Array. */
export async function goldenItems(model) {
  return floats(await model.file("golden/x.f32"));
}

/** Largest absolute difference; see `deviations`. */
export function difference(measured, expected, options) {
  return deviations(measured, expected, options).largest;
}

/**
 * Largest and mean absolute difference; infinite where a number is NaN. Values without bounds are compared in their units and
 * beyond what a float32 of that size can hold: max(0, |a - b| - rounding |b|) / unit.
 *
 * @returns {{largest: number, mean: number}}
 */
export function deviations(measured, expected, { rounding = null, units = null } = {}) {
  if (measured.length !== expected.length) return { largest: Infinity, mean: Infinity };
  let largest = 0;
  let sum = 0;
  for (let i = 0; i < expected.length; i++) {
    if (measured[i] === expected[i]) continue; // also where both are the same infinity
    let gap = Math.abs(measured[i] - expected[i]);
    if (rounding !== null) gap = Math.max(0, gap - rounding * Math.abs(expected[i])) / units[i % units.length];
    if (Number.isNaN(gap)) return { largest: Infinity, mean: Infinity };
    largest = Math.max(largest, gap);
    sum += gap;
  }
  return { largest, mean: sum / Math.max(1, measured.length) };
}

function otherBits(measured, expected) {
  const [a, b] = [measured, expected].map((values) => new Uint32Array(values.buffer, values.byteOffset, values.length));
  return a.length === b.length ? a.reduce((count, bits, i) => count + (bits !== b[i]), 0) : Infinity;
}

async function inBatches(array, width, batch, run) {
  const count = array.length / width;
  let results = new Float32Array(0); // of no items; otherwise of the type that the model gives
  for (let row = 0; row < count; row += batch) {
    const part = await run(array.subarray(row * width, (row + batch) * width), row);
    const rows = Math.min(batch, count - row);
    if (row === 0) results = new part.constructor((part.length / rows) * count);
    results.set(part, (part.length / rows) * row);
  }
  return results;
}

function readGolden(files) {
  const index = JSON.parse(new TextDecoder().decode(files.get("golden/golden.json")));
  const arrays = Object.entries(index.arrays).map(([name, { file, dtype }]) => {
    const bytes = files.get(`golden/${file}`);
    return [name, dtype === "uint8" ? bytes : floats(bytes)];
  });
  return { ...index, arrays: Object.fromEntries(arrays) };
}

/** Raw little-endian float32, which is the order of every machine that JavaScript engines run on today. */
function floats(bytes) {
  return new Float32Array(bytes.slice().buffer);
}
