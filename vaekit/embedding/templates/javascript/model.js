// The model: two ONNX graphs as functions on typed arrays. What differs between Node and a page, ONNX Runtime's package and
// how a file is read, comes from outside.
//
// N items are one array, row after row: a Float32Array, or a Uint8Array where model.json says that items are pixels.
// A graph is loaded from the very bytes whose SHA-256 was checked.

import { reparameterise } from "./latents.js";
import { NOISE_VERSION, noise } from "./noise.js";
import { sha256 } from "./sha256.js";

const BATCH = 256; // codes a call of `sample`
const ARRAYS = { float32: Float32Array, uint8: Uint8Array }; // by the dtype of items

export class Model {
  #ort;
  #read;
  #options;
  #sessions = {};

  /**
   * Use `Model.open`.
   *
   * @param about  the content of model.json
   */
  constructor(about, { ort, read, sessionOptions }) {
    this.about = about;
    this.name = about.name;
    this.kind = about.kind;
    this.shape = about.data.shape;
    this.size = about.data.shape.reduce((product, length) => product * length, 1);
    this.latent = about.latent.size;
    this.#ort = ort;
    this.#read = read;
    this.#options = sessionOptions;
  }

  /**
   * Read model.json and load the decoder; the encoder is loaded when `encode` first needs it.
   *
   * @param host  ort: ONNX Runtime's module; read: name of a file -> Promise of its bytes, a Uint8Array;
   *              sessionOptions: for InferenceSession.create
   * @returns {Promise<Model>}
   */
  static async open(host) {
    const about = JSON.parse(new TextDecoder().decode(await host.read("model.json")));
    if (about.noise !== NOISE_VERSION) throw new Error(`the model's noise is ${about.noise}, but this code makes ${NOISE_VERSION}`);
    const model = new Model(about, host);
    await model.#session("decoder");
    return model;
  }

  /** Read one of the files that model.json states, and refuse other bytes than those. */
  async file(name) {
    const stated = this.about.files[name];
    const bytes = await this.#read(name);
    if (bytes.length !== stated.bytes || (await sha256(bytes)) !== stated.sha256) {
      throw new Error(`${name} was changed: its size or SHA-256 is not that of model.json; copy the folder again`);
    }
    return bytes;
  }

  /**
   * x -> the posterior of each item: means, and natural logs of variances (minus infinity for a classic autoencoder).
   *
   * @param {Float32Array | Uint8Array} x  N items, N * size values within the range that model.json states, if it does
   * @returns {Promise<{mean: Float32Array, logVar: Float32Array}>}
   */
  async encode(x) {
    const { dtype, range } = this.about.data;
    const { mean, log_var: logVar } = await this.#run("encoder", "x", x, dtype, this.shape, range);
    return { mean, logVar: logVar ?? new Float32Array(mean.length).fill(-Infinity) };
  }

  /**
   * z -> items.
   *
   * @param {Float32Array} z  N codes, N * latent values
   * @returns {Promise<Float32Array | Uint8Array>}  N * size values
   */
  async decode(z) {
    return (await this.#run("decoder", "z", z, "float32", [this.latent])).x_hat;
  }

  /** One code for each item of a posterior, z = mean + exp(log_var / 2) * eps; the same seed gives the same codes anywhere. */
  reparameterise(posterior, options) {
    return reparameterise(posterior, this.latent, options);
  }

  /**
   * Codes to generate from: N(0, I). A classic autoencoder has no prior; its codes come from the normal that was fitted to
   * those of its training data.
   *
   * @param {number} count
   * @param {{seed?: number | bigint, start?: number | bigint}} options
   * @returns {Float32Array}
   */
  prior(count, { seed = 0, start = 0 } = {}) {
    const eps = noise(seed, count, this.latent, start);
    if (this.kind !== "ae") return eps;
    const { mean, std } = this.about.latent.statistics;
    return eps.map((value, i) => mean[i % this.latent] + std[i % this.latent] * value);
  }

  /**
   * Generate items. The noise of item i depends on (seed, start + i) alone; README.md says what that is for the item.
   *
   * @param {number} count
   * @param {{seed?: number | bigint, start?: number | bigint}} options
   * @returns {Promise<Float32Array | Uint8Array>}  count * size values
   */
  async sample(count = 1, options) {
    const z = this.prior(count, options);
    const items = new ARRAYS[this.about.data.dtype](count * this.size);
    for (let row = 0; row < count; row += BATCH) {
      items.set(await this.decode(z.subarray(row * this.latent, (row + BATCH) * this.latent)), row * this.size);
    }
    return items;
  }

  /** x -> the decoder's means for the posterior's means, or for a sample of it where a seed is given. */
  async reconstruct(x, { seed, start } = {}) {
    const posterior = await this.encode(x);
    return this.decode(seed === undefined ? posterior.mean : this.reparameterise(posterior, { seed, start }));
  }

  /** Give ONNX Runtime's memory back. */
  async close() {
    const sessions = Object.values(this.#sessions);
    this.#sessions = {};
    for (const session of sessions) await (await session).release();
  }

  #session(half) {
    this.#sessions[half] ??= this.file(`${half}.onnx`).then((bytes) => this.#ort.InferenceSession.create(bytes, this.#options));
    return this.#sessions[half];
  }

  async #run(half, input, values, dtype, shape, range) {
    const size = shape.reduce((product, length) => product * length, 1);
    if (!(values instanceof ARRAYS[dtype])) throw new TypeError(`${input}: give a ${ARRAYS[dtype].name}, N rows of ${size} values`);
    if (values.length % size !== 0) throw new RangeError(`${input} has ${values.length} values; give N rows of ${size}`);
    if (!values.every(Number.isFinite)) throw new RangeError(`${input} holds a NaN or an infinity; give finite numbers`);
    const [low, high] = (range ?? [-Infinity, Infinity]).map(Math.fround); // the values are float32 too
    const outside = values.find((value) => value < low || value > high);
    if (outside !== undefined) throw new RangeError(`${input} holds ${outside}; the model takes ${range[0]} to ${range[1]}`);
    const session = await this.#session(half);
    const count = values.length / size;
    const results = await session.run({ [input]: new this.#ort.Tensor(dtype, values, [count, ...shape]) });
    return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, tensor.data]));
  }
}
