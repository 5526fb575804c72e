// Where this page's model comes from: files beside it, and ONNX Runtime's WebAssembly build in ort/.

import * as ort from "../ort/ort.wasm.bundle.min.js";

import { Model } from "../lib/model.js";

// One thread: several need SharedArrayBuffer, which a page has only with the headers COOP and COEP, and small models gain nothing.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("../ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };

export function openModel() {
  return Model.open({ ort, read, sessionOptions: { executionProviders: ["wasm"] } });
}

async function read(name) {
  const answer = await fetch(new URL(`../model/${name}`, import.meta.url), { cache: "no-cache" });
  if (!answer.ok) throw new Error(`model/${name} could not be read: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}
