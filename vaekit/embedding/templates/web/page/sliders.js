// A slider for each latent dimension that carries information, from mean - 3 std to mean + 3 std of the aggregate posterior.

const SPAN = 3; // standard deviations
const SHOWN = 24; // more than these stay folded away

export class Sliders {
  #inputs = new Map();

  constructor(place, note, model, onEdit) {
    const { mean, std, kl, active } = model.about.latent.statistics;
    const order = kl.length > 0 ? [...active].sort((a, b) => kl[b] - kl[a]) : active;
    const rows = order.map((d) => this.#row(d, mean[d], std[d] || 1, kl[d], onEdit));
    place.append(...rows.slice(0, SHOWN));
    if (rows.length > SHOWN) {
      const more = document.createElement("details");
      const summary = document.createElement("summary");
      summary.textContent = `${rows.length - SHOWN} more`;
      const inner = document.createElement("div");
      inner.className = "sliders";
      inner.append(...rows.slice(SHOWN));
      more.append(summary, inner);
      place.after(more);
    }
    const idle = model.latent - active.length;
    note.textContent = `${active.length} active dimensions${kl.length > 0 ? ", most telling first" : ""}${idle > 0 ? `; ${idle} idle` : ""}.`;
  }

  /** Show a code. */
  set(z) {
    for (const [dimension, show] of this.#inputs) show(z[dimension]);
  }

  #row(dimension, mean, std, kl, onEdit) {
    const [low, high] = [mean - SPAN * std, mean + SPAN * std];
    const label = document.createElement("label");
    const name = document.createElement("span");
    name.textContent = `z${dimension}`;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: low, max: high, step: (high - low) / 240, id: `z${dimension}` });
    input.setAttribute("aria-label", `Latent dimension ${dimension}`);
    if (kl !== undefined) label.title = `latent dimension ${dimension}: ${kl.toFixed(2)} nats`;
    const output = document.createElement("output");
    output.htmlFor = input.id;
    const show = (value) => {
      input.value = value;
      this.#write(input, output, value, low, high);
    };
    input.addEventListener("input", () => {
      this.#write(input, output, input.valueAsNumber, low, high);
      onEdit(dimension, input.valueAsNumber);
    });
    label.append(name, input, output);
    this.#inputs.set(dimension, show);
    return label;
  }

  #write(input, output, value, low, high) {
    output.textContent = value.toFixed(2).replace("-", "\u2212");
    const part = Math.min(1, Math.max(0, (value - low) / (high - low)));
    input.style.setProperty("--from", `${50 * Math.min(1, 2 * part)}%`); // the coloured part reaches from the middle to the thumb
    input.style.setProperty("--to", `${50 * Math.max(1, 2 * part)}%`);
  }
}
