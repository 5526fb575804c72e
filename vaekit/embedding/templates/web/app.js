// The page: one latent code z, and what changes it: a seed, the morph, a drawing, the sliders.
//
// Whatever made the code, the sliders show it and can edit it, and the picture is what the decoder makes of it.

import { openModel } from "./page/host.js";
import { Morph } from "./page/morph.js";
import { Pad } from "./page/pad.js";
import { Picture, limitsOf } from "./page/picture.js";
import { showProof, showFailure } from "./page/proof.js";
import { latest, Rate } from "./page/rate.js";
import { Sliders } from "./page/sliders.js";
import { goldenItems } from "./lib/replay.js";

const element = (id) => document.getElementById(id);

async function start() {
  const model = await openModel();
  const examples = await goldenItems(model);
  const limits = limitsOf(model, examples);
  const picture = new Picture(element("picture"), model, limits);
  const rate = new Rate(element("rate"));

  let code = new Float32Array(model.latent);
  let made = code; // the code as its source made it, before any edit

  const paint = latest(async (z) => {
    const begin = performance.now();
    const item = await model.decode(z);
    rate.decoded(performance.now() - begin);
    picture.draw(item);
  });

  /** Take a code from a source that is not the sliders. */
  function take(z, source) {
    code = made = z;
    sliders.set(z);
    element("undo").disabled = true;
    if (element("source").textContent !== source) element("source").textContent = source;
    return paint(z);
  }

  const sliders = new Sliders(element("sliders"), element("idle"), model, (dimension, value) => {
    morph.pause();
    code = Float32Array.from(code);
    code[dimension] = value;
    element("undo").disabled = false;
    paint(code);
  });
  element("undo").addEventListener("click", () => take(made, element("source").textContent));
  element("centre-code").addEventListener("click", () => {
    morph.pause();
    take(Float32Array.from(model.about.latent.statistics.mean), "The mean of all codes");
  });

  // A seed: that of the field, or the next one.
  const seed = element("seed");
  function sample() {
    if (!seed.checkValidity()) return;
    morph.pause();
    return take(model.prior(1, { seed: Number(seed.value) }), `Sample of seed ${seed.value}`);
  }
  seed.addEventListener("change", sample);
  element("sample").addEventListener("submit", (event) => {
    event.preventDefault();
    sample();
  });
  element("new-sample").addEventListener("click", () => {
    seed.stepUp();
    sample();
  });

  // Two seeds.
  const morph = new Morph(model, limits, take);

  // A drawing, or an example.
  const pad = new Pad(model, limits, examples, latest(async (item, source) => {
    morph.pause();
    const { mean } = await model.encode(item);
    await take(mean, source);
  }));

  await sample();
  await morph.showEnds();
  pad.show();
  await showProof(model);
}

start().catch(showFailure);
