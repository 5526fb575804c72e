/** Whole number from 0 to 2^64 - 1; a BigInt above 2^53 - 1. */
export type Seed = number | bigint;

/** Which noise: row i is that of (seed, start + i). Both are 0 unless given. */
export interface Stream {
  seed?: Seed;
  start?: Seed;
}

/** N rows of latent values: means, and natural logs of *variances* (minus infinity for a classic autoencoder). */
export interface Posterior {
  mean: Float32Array;
  logVar: Float32Array;
}

/** One comparison with the golden vectors. */
export interface Check {
  what: string;
  /** Largest absolute difference, or a number of differences. */
  measured: number;
  /** Largest that passes. */
  tolerance: number;
  passed: boolean;
}

/** A model whose files were checked. N items are one Float32Array, row after row. */
export class Model {
  private constructor();
  readonly name: string;
  readonly kind: "vae" | "ae";
  /** One item without the batch: (C, H, W), (D, T) or (D). */
  readonly shape: readonly number[];
  /** Values of one item, the product of `shape`. */
  readonly size: number;
  /** Latent dimensions. */
  readonly latent: number;

  /** Posterior of N items, `x` of N * size values. */
  encode(x: Float32Array): Promise<Posterior>;
  /** Items of N codes, `z` of N * latent values. */
  decode(z: Float32Array): Promise<Float32Array>;
  /** One code for each item: `z = mean + exp(logVar / 2) * eps`. */
  reparameterise(posterior: Posterior, stream?: Stream): Float32Array;
  /** Codes to generate from. */
  prior(count: number, stream?: Stream): Float32Array;
  /** Generate items: item i depends on (seed, start + i) alone, never on the batch. */
  sample(count?: number, stream?: Stream): Promise<Float32Array>;
  /** Decode the posterior's means, or, where a seed is given, a sample of it. */
  reconstruct(x: Float32Array, stream?: Stream): Promise<Float32Array>;
  /** Give ONNX Runtime's memory back. */
  close(): Promise<void>;
}

/** Open the model: of `folder`, or the one beside this file. `threads` inside one call; 1 unless given. */
export function open(options?: { folder?: string; threads?: number }): Promise<Model>;

/** Portable noise: `count` rows of `dim` standard normal numbers, the same bits in every language. */
export function noise(seed: Seed, count: number, dim: number, start?: Seed): Float32Array;
/** Name and version of the noise's algorithm. */
export const NOISE_VERSION: string;

/** One code for each row of a posterior with `dim` latent dimensions. */
export function reparameterise(posterior: Posterior, dim: number, stream?: Stream): Float32Array;
/** The code at `t`, 0 to 1, of the great circle from `a` to `b`. */
export function interpolate(a: Float32Array, b: Float32Array, t: number): Float32Array;

/** Replay the golden vectors; yields one check after the other. */
export function replay(model: Model): AsyncGenerator<Check, void, void>;
