// A morph between the codes of two seeds: by hand, or playing to and fro.

import { interpolate } from "../lib/latents.js";
import { Picture } from "./picture.js";

const STEPS = 7; // pictures in the strip
const SECONDS = 3; // one way

export class Morph {
  #model;
  #onCode;
  #strip;
  #ends = null;
  #playing = null;
  #phase = 0; // 0 at the first seed, 1 at the second, 2 at the first again
  #from = document.getElementById("from");
  #to = document.getElementById("to");
  #way = document.getElementById("way");
  #play = document.getElementById("play");

  constructor(model, limits, onCode) {
    this.#model = model;
    this.#onCode = onCode;
    this.#strip = new Picture(document.getElementById("strip"), model, limits);
    this.#play.addEventListener("click", () => (this.#playing === null ? this.play() : this.pause()));
    this.#way.addEventListener("input", () => {
      this.pause();
      this.#phase = Math.acos(1 - 2 * this.#way.valueAsNumber) / Math.PI;
      this.#show();
    });
    for (const input of [this.#from, this.#to]) {
      input.addEventListener("change", async () => {
        if (!input.checkValidity()) return;
        await this.showEnds();
        this.#show();
      });
    }
  }

  /** Take the two seeds of the fields, and draw the steps between them. */
  async showEnds() {
    const [from, to] = [this.#from, this.#to].map((input) => Number(input.value));
    const [a, b] = [from, to].map((seed) => this.#model.prior(1, { seed }));
    this.#ends = { from, to, a, b };
    const steps = new Float32Array(STEPS * this.#model.latent);
    for (let i = 0; i < STEPS; i++) steps.set(interpolate(a, b, i / (STEPS - 1)), i * this.#model.latent);
    this.#strip.draw(await this.#model.decode(steps));
  }

  play() {
    let before = performance.now();
    const frame = (now) => {
      this.#playing = requestAnimationFrame(frame);
      this.#phase = (this.#phase + Math.max(0, now - before) / (1000 * SECONDS)) % 2;
      before = now;
      this.#show();
    };
    this.#playing = requestAnimationFrame(frame);
    this.#announce(true);
  }

  pause() {
    if (this.#playing === null) return;
    cancelAnimationFrame(this.#playing);
    this.#playing = null;
    this.#announce(false);
  }

  #show() {
    const t = (1 - Math.cos(Math.PI * this.#phase)) / 2; // slow at both ends
    if (this.#playing !== null) this.#way.value = t;
    const { from, to, a, b } = this.#ends;
    this.#onCode(interpolate(a, b, t), `Between seeds ${from} and ${to}`);
  }

  #announce(playing) {
    this.#play.textContent = playing ? "Pause" : "Play";
    this.#play.setAttribute("aria-pressed", String(playing));
  }
}
