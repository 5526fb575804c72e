// Work that keeps up with its input, and how fast it goes.

/**
 * Run a task for the newest arguments only: while it runs, later calls wait, and only the last of them is done.
 *
 * @returns a function with the same arguments, whose promise settles when nothing is left to do
 */
export function latest(task) {
  let waiting = null;
  let running = null;
  const work = async () => {
    while (waiting) {
      const next = waiting;
      waiting = null;
      await task(...next);
    }
  };
  return (...values) => {
    waiting = values;
    running ??= work().finally(() => (running = null));
    return running;
  };
}

/** Pictures a second and milliseconds a picture, shown twice a second. */
export class Rate {
  #output;
  #count = 0;
  #busy = 0;
  #since = null;

  constructor(output) {
    this.#output = output;
  }

  /** One picture was decoded, in so many milliseconds. */
  decoded(milliseconds) {
    const now = performance.now();
    if (this.#since === null) this.#output.textContent = `decoded in ${milliseconds.toFixed(1)} ms`;
    this.#since ??= now;
    this.#count += 1;
    this.#busy += milliseconds;
    const elapsed = now - this.#since;
    if (elapsed < 500) return;
    // A pause is no slowness: only what goes on without one is a rate.
    const each = this.#busy / this.#count;
    const going = elapsed < 1000 && this.#count > 3;
    this.#output.textContent = going
      ? `${Math.round((this.#count * 1000) / elapsed)} pictures/s, ${each.toFixed(1)} ms each`
      : `decoded in ${milliseconds.toFixed(1)} ms`;
    this.#since = now;
    this.#count = 0;
    this.#busy = 0;
  }
}
