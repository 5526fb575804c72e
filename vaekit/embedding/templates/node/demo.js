// node demo.js [SEED]: draw one sample here.

import { open } from "./index.js";

const [seed = "7", ...surplus] = process.argv.slice(2);
if (!/^[0-9]{1,20}$/.test(seed) || BigInt(seed) >= 2n ** 64n || surplus.length > 0) {
  console.error("usage: node demo.js [SEED], a whole number from 0 to 2^64 - 1");
  process.exit(2);
}
try {
  const model = await open();
  const item = await model.sample(1, { seed: BigInt(seed) });
  console.log(model.shape.length === 3 ? picture(item, model) : numbers(item, model));
  await model.close();
} catch (error) {
  console.error(`demo: ${error.message}`);
  process.exitCode = 1;
}

/** Two rows of pixels in a line: colours on a terminal, characters from dark to light in a file. */
function picture(values, { shape, about }) {
  const step = (axis) => shape.slice(about.data.layout.indexOf(axis) + 1).reduce((product, length) => product * length, 1);
  const [channels, height, width] = [..."CHW"].map((axis) => shape[about.data.layout.indexOf(axis)]);
  const [low, high] = about.data.range ?? [Math.min(...values), Math.max(...values)];
  const scaled = (channel, row, column) => {
    const at = [Math.min(channel, channels - 1) * step("C"), Math.min(row, height - 1) * step("H"), column * step("W")];
    const value = values[at[0] + at[1] + at[2]];
    return Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  };
  const colour = (row, column) => [0, 1, 2].map((channel) => Math.round(255 * scaled(channel, row, column))).join(";");
  const grey = (row, column) => [0, 1, 2].reduce((sum, channel, i) => sum + [0.299, 0.587, 0.114][i] * scaled(channel, row, column), 0);
  const cell = (row, column) =>
    process.stdout.isTTY
      ? `\x1b[38;2;${colour(row, column)};48;2;${colour(row + 1, column)}m\u2580`
      : " .:-=+*#%@"[Math.round(9 * ((grey(row, column) + grey(row + 1, column)) / 2))];
  const lines = [];
  for (let row = 0; row < height; row += 2) {
    const line = Array.from({ length: width }, (_, column) => cell(row, column)).join("");
    lines.push(process.stdout.isTTY ? `${line}\x1b[0m` : line.trimEnd());
  }
  return lines.join("\n");
}

/** One line for each place of the item's first axis. */
function numbers(values, { shape, about }) {
  const width = values.length / shape[0];
  const row = (i) => Array.from(values.subarray(i * width, (i + 1) * width), (value) => value.toPrecision(6)).join(" ");
  return Array.from({ length: shape[0] }, (_, i) => `${about.data.features?.[i]?.name ?? i}: ${row(i)}`).join("\n");
}
