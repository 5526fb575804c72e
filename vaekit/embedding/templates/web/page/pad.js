// The drawing pad: mouse, finger, pen or keys; and examples from the model's test data.

import { centredItemOf, itemOf } from "./ink.js";
import { Picture } from "./picture.js";

const SIDE = 280; // pixels of the pad's longer side, about
const STROKE = 0.085; // width of a stroke, of the shorter side: 2.4 pixels of MNIST's 28
const THINNEST = 1.6; // pixels of the item

const element = (id) => document.getElementById(id);

export class Pad {
  #model;
  #limits;
  #examples;
  #example = 0;
  #onItem;
  #canvas = element("pad");
  #pen;
  #seen;
  #frame = null; // asked for, to show the drawing
  #last = null; // where the stroke is, in pixels of the canvas
  #cursor = { x: 0, y: 0, down: false }; // the pen that keys move

  constructor(model, limits, examples, onItem) {
    this.#model = model;
    this.#limits = limits;
    this.#examples = examples;
    this.#onItem = onItem;
    this.#seen = new Picture(element("seen"), model, limits);
    element("example").addEventListener("click", () => this.#takeExample());
    if (model.shape.length === 3) this.#begin();
    else for (const id of ["pad-figure", "pad-help", "clear", "centre-field", "colour-field"]) element(id).hidden = true;
  }

  /** Draw the empty input, once the page has its size. */
  show() {
    if (this.#model.shape.length === 3) this.#clear();
    else element("draw-title").textContent = "Encode";
  }

  #begin() {
    const [channels, height, width] = this.#model.shape;
    const scale = Math.max(1, Math.round(SIDE / Math.max(height, width)));
    Object.assign(this.#canvas, { width: width * scale, height: height * scale });
    this.#pen = this.#canvas.getContext("2d", { willReadFrequently: true });
    element("colour-field").hidden = channels === 1;
    element("centre-field").hidden = channels !== 1;
    if (channels !== 1) element("centre").checked = false;

    this.#canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.#canvas.setPointerCapture(event.pointerId);
      this.#last = this.#position(event);
      this.#stroke(this.#last);
    });
    this.#canvas.addEventListener("pointermove", (event) => {
      if (this.#last === null) return;
      for (const point of event.getCoalescedEvents?.() ?? [event]) this.#stroke(this.#position(point));
    });
    for (const end of ["pointerup", "pointercancel"]) this.#canvas.addEventListener(end, () => (this.#last = null));
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#canvas.addEventListener("focus", () => this.#showCursor());
    this.#canvas.addEventListener("blur", () => (element("pen").hidden = true));
    element("clear").addEventListener("click", () => this.#clear());
    element("centre").addEventListener("change", () => this.#give());
    this.#cursor = { x: this.#canvas.width / 2, y: this.#canvas.height / 4, down: false };
  }

  #position(event) {
    const box = this.#canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * this.#canvas.width) / box.width,
      y: ((event.clientY - box.top) * this.#canvas.height) / box.height,
    };
  }

  #stroke(to) {
    const from = this.#last ?? to;
    this.#last = to;
    const [, height, columns] = this.#model.shape;
    const width = Math.max(STROKE * Math.min(columns, height), THINNEST) * (this.#canvas.width / columns);
    const colour = element("colour").value;
    Object.assign(this.#pen, { lineCap: "round", lineJoin: "round", lineWidth: width, strokeStyle: colour });
    Object.assign(this.#pen, { shadowBlur: width / 4, shadowColor: colour }); // a soft edge
    this.#pen.beginPath();
    this.#pen.moveTo(from.x, from.y);
    this.#pen.lineTo(to.x, to.y + (from === to ? 0.01 : 0)); // a line of no length draws nothing
    this.#pen.stroke();
    this.#give();
  }

  #key(event) {
    const step = this.#canvas.width / this.#model.shape[2];
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (dx === 0 && dy === 0 && ![" ", "Delete", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Delete" || event.key === "Backspace") this.#clear();
    if (event.key === " ") this.#cursor.down = !this.#cursor.down;
    const before = { x: this.#cursor.x, y: this.#cursor.y };
    this.#cursor.x = Math.min(this.#canvas.width, Math.max(0, this.#cursor.x + step * dx));
    this.#cursor.y = Math.min(this.#canvas.height, Math.max(0, this.#cursor.y + step * dy));
    this.#showCursor();
    if (!this.#cursor.down) return;
    this.#last = before;
    this.#stroke({ x: this.#cursor.x, y: this.#cursor.y });
    this.#last = null;
  }

  #showCursor() {
    const pen = element("pen");
    pen.hidden = !this.#canvas.matches(":focus-visible");
    pen.classList.toggle("down", this.#cursor.down);
    pen.style.left = `${(100 * this.#cursor.x) / this.#canvas.width}%`;
    pen.style.top = `${(100 * this.#cursor.y) / this.#canvas.height}%`;
  }

  #clear() {
    this.#forget();
    this.#cursor.down = false;
    this.#showCursor();
    Object.assign(this.#pen, { shadowBlur: 0, fillStyle: "#000" });
    this.#pen.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#seen.draw(itemOf(this.#drawing(), this.#model.shape, this.#limits));
  }

  #drawing() {
    return this.#pen.getImageData(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** Give the drawing on, once a frame however many strokes came in between. */
  #give() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      const convert = element("centre").checked ? centredItemOf : itemOf;
      const item = convert(this.#drawing(), this.#model.shape, this.#limits);
      this.#seen.draw(item);
      this.#onItem(item, "Your drawing, encoded");
    });
  }

  #forget() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
  }

  #takeExample() {
    this.#forget();
    const count = this.#examples.length / this.#model.size;
    const item = this.#examples.slice(this.#example * this.#model.size, (this.#example + 1) * this.#model.size);
    this.#seen.draw(item);
    if (this.#pen) {
      Object.assign(this.#pen, { shadowBlur: 0, imageSmoothingEnabled: false });
      this.#pen.drawImage(element("seen"), 0, 0, this.#canvas.width, this.#canvas.height); // to draw on
    }
    this.#onItem(item, `Test item ${this.#example}, encoded`);
    this.#example = (this.#example + 1) % count;
  }
}
