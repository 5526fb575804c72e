// The noise that `vaekit embed node` and `web` ship, on the command line. `noise.js`, that very file, must lie beside this one.
//
//   node noise.mjs [--double] SEED COUNT DIM START [SEED COUNT DIM START ...] > rows.f32
//
// writes raw little-endian float32, row after row; with --double the doubles from which they are rounded.
import { writeSync } from "node:fs";

import { noise } from "./noise.js";

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
  const rows = noise(BigInt(seed), Number(count), Number(dim), BigInt(start), asDouble ? Float64Array : Float32Array);
  const bytes = littleEndian(rows, asDouble);
  for (let sent = 0; sent < bytes.length; ) sent += writeSync(1, bytes, sent);
}
