// Items on a canvas: grey and colour images as pixels, all others as lines.

/** What the darkest and the brightest of a model's values are: its range, or, without bounds, that of real items. */
export function limitsOf(model, examples) {
  if (model.about.data.range !== null) return model.about.data.range;
  const values = model.shape.length === 3 ? examples : standardised(examples, model);
  return [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
}

/** Draws items of one model on one canvas; several items stand side by side. */
export class Picture {
  #canvas;
  #context;
  #model;
  #limits;

  constructor(canvas, model, limits) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.#model = model;
    this.#limits = limits;
    canvas.classList.toggle("lines", model.shape.length !== 3);
  }

  draw(items) {
    if (this.#model.shape.length === 3) this.#drawPixels(items);
    else this.#drawLines(items);
  }

  #drawPixels(items) {
    const [channels, height, width] = this.#model.shape;
    const [low, high] = this.#limits;
    const count = items.length / this.#model.size;
    if (this.#canvas.width !== count * width || this.#canvas.height !== height) {
      Object.assign(this.#canvas, { width: count * width, height });
    }
    const image = new ImageData(count * width, height);
    const plane = height * width;
    for (let i = 0; i < count * plane; i++) {
      const [item, pixel] = [Math.floor(i / plane), i % plane];
      const target = 4 * (Math.floor(pixel / width) * count * width + item * width + (pixel % width));
      for (let c = 0; c < 3; c++) {
        const value = items[item * this.#model.size + Math.min(c, channels - 1) * plane + pixel];
        image.data[target + c] = (255 * (value - low)) / (high - low || 1); // clamped and rounded by its type
      }
      image.data[target + 3] = 255;
    }
    this.#context.putImageData(image, 0, 0);
  }

  #drawLines(items) {
    const { clientWidth, clientHeight } = this.#canvas;
    const ratio = Math.min(2, devicePixelRatio || 1);
    const [width, height] = [Math.max(1, clientWidth * ratio), Math.max(1, clientHeight * ratio)];
    Object.assign(this.#canvas, { width, height });
    const count = items.length / this.#model.size;
    const values = standardised(items, this.#model);
    const [low, high] = this.#limits;
    const rows = this.#model.shape.length === 2 ? this.#model.shape[0] : 1;
    const length = this.#model.size / rows;
    const pen = this.#context;
    const [ink, line] = ["--accent", "--line"].map((name) => getComputedStyle(this.#canvas).getPropertyValue(name));
    const margin = 0.06 * Math.min(height, width / count);
    const x = (item, i) => (item + 0.5) * (width / count) + (width / count - 2 * margin) * (length > 1 ? i / (length - 1) - 0.5 : 0);
    const y = (value) => height - margin - ((height - 2 * margin) * (value - low)) / (high - low || 1);

    pen.strokeStyle = line;
    pen.lineWidth = ratio;
    if (low < 0 && high > 0) stroke(pen, [[0, y(0)], [width, y(0)]]);
    pen.strokeStyle = ink;
    pen.lineWidth = 2 * ratio;
    pen.lineJoin = "round";
    for (let item = 0; item < count; item++) {
      for (let row = 0; row < rows; row++) {
        const start = item * this.#model.size + row * length;
        pen.globalAlpha = 1 - (0.6 * row) / rows;
        stroke(pen, Array.from(values.subarray(start, start + length), (value, i) => [x(item, i), y(value)]));
      }
    }
    pen.globalAlpha = 1;
  }
}

function stroke(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? pen.moveTo(x, y) : pen.lineTo(x, y)));
  pen.stroke();
}

/** Columns of a table have units of their own; (x - offset) / scale brings them to one axis. */
function standardised(items, model) {
  const features = model.about.data.features;
  if (!features) return items;
  const width = model.size / model.shape[0];
  return items.map((value, i) => {
    const { offset, scale } = features[Math.floor((i % model.size) / width)];
    return (value - offset) / scale;
  });
}
