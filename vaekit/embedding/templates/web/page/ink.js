// From what was drawn to what the encoder takes.

/**
 * A drawing as one item: each pixel is the mean of the area that it covers.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} drawing  opaque pixels, red, green, blue, alpha
 * @param {number[]} shape    channels (1 or 3), height, width
 * @param {number[]} limits   values of black and of white
 */
export function itemOf(drawing, shape, limits) {
  const scale = shape[2] / drawing.width;
  return laid(drawing, shape, limits, (x, y) => [x * scale, y * scale], scale);
}

/**
 * The same, scaled and moved as MNIST's digits were: what was drawn fits into 20 of 28 pixels with its aspect ratio kept, and
 * is then moved by whole pixels, so that its centre of mass lies in the pixel right and below of the middle. LeCun, Bottou,
 * Bengio & Haffner 1998, doi:10.1109/5.726791, section III.A.
 *
 * A small drawing is enlarged to three times its size at most; an empty one stays empty.
 */
export function centredItemOf(drawing, shape, limits) {
  const { width, height } = drawing;
  const box = { left: width, top: height, right: -1, bottom: -1 };
  let [mass, sumX, sumY] = [0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const ink = drawing.data[4 * (y * width + x)];
      if (ink === 0) continue;
      mass += ink;
      sumX += ink * (x + 0.5);
      sumY += ink * (y + 0.5);
      if (ink < 128) continue; // the soft edge of a stroke does not count as its extent
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y);
    }
  }
  if (box.right < 0) return itemOf(drawing, shape, limits);
  const [, rows, columns] = shape;
  const extent = Math.max(box.right - box.left, box.bottom - box.top) + 1;
  const scale = Math.min((20 / 28) * (Math.min(rows, columns) / extent), 3 * (columns / width));
  const left = Math.ceil(columns / 2 - (sumX / mass - box.left) * scale);
  const top = Math.ceil(rows / 2 - (sumY / mass - box.top) * scale);
  return laid(drawing, shape, limits, (x, y) => [left + (x - box.left) * scale, top + (y - box.top) * scale], scale);
}

/** Share each pixel of a drawing out among the places that it covers, four at most: `scale` is its new width, below 1. */
function laid({ data, width, height }, [channels, rows, columns], [low, high], place, scale) {
  const item = new Float32Array(channels * rows * columns);
  const area = (scale * scale) / 255;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const source = 4 * (y * width + x);
      if (data[source] + data[source + 1] + data[source + 2] === 0) continue;
      const [u, v] = place(x, y);
      const [column, row] = [Math.floor(u), Math.floor(v)];
      const right = Math.max(0, (u + scale - column - 1) / scale); // its part beyond the first column
      const down = Math.max(0, (v + scale - row - 1) / scale);
      const shares = [[row, column, (1 - down) * (1 - right)], [row, column + 1, (1 - down) * right]];
      shares.push([row + 1, column, down * (1 - right)], [row + 1, column + 1, down * right]);
      for (const [r, c, share] of shares) {
        if (r < 0 || r >= rows || c < 0 || c >= columns) continue;
        for (let channel = 0; channel < channels; channel++) {
          item[(channel * rows + r) * columns + c] += share * area * data[source + channel];
        }
      }
    }
  }
  return item.map((ink) => low + (high - low) * Math.min(1, ink));
}
