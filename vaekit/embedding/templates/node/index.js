// The model of this folder, in Node.js. `open` is all that one needs:
//
//   import { open } from "./index.js";
//   const vae = await open();
//   const items = await vae.sample(16, { seed: 7 });  // 16 * vae.size values

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import "./telemetry.js";
import * as ort from "onnxruntime-node";

import { Model } from "./lib/model.js";

export { interpolate, reparameterise } from "./lib/latents.js";
export { Model } from "./lib/model.js";
export { NOISE_VERSION, noise } from "./lib/noise.js";
export { replay } from "./lib/replay.js";

/**
 * Open the model; the decoder is loaded now, the encoder when `encode` first needs it.
 *
 * @param {{folder?: string, threads?: number}} options  threads inside one call: 1 is the fastest for small models
 * @returns {Promise<Model>}
 */
export async function open({ folder = fileURLToPath(new URL("./model", import.meta.url)), threads = 1 } = {}) {
  const read = async (name) => new Uint8Array(await readFile(join(folder, ...name.split("/"))));
  // x86 processors without VNNI add an int8 graph's products in 16 bits, which can overflow; with this they do not.
  const extra = { session: { x64quantprecision: "1" } };
  const sessionOptions = { intraOpNumThreads: threads, interOpNumThreads: 1, executionProviders: ["cpu"], extra };
  return Model.open({ ort, read, sessionOptions });
}
