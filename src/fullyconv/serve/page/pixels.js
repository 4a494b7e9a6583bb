// Labels and probabilities as typed arrays, one number a pixel; drawn at the size of the screen.

/** What void is among so many classes, as in labels.py. */
export function voidOf(categories) {
  return categories.length > 255 ? 65535 : 255;
}

/** The label of every pixel from row-major run lengths. */
export function fromRuns({ values, counts }, size) {
  const labels = new Uint16Array(size);
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    labels.fill(values[i], at, at + counts[i]);
    at += counts[i];
  }
  return labels;
}

/** The grey values of a PNG, exactly as they are in it. */
export async function fromGrey(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const values = new Uint8Array(width * height);
  const rows = Math.max(1, Math.floor(2 ** 20 / width)); // in bands: four bytes for each byte kept
  const canvas = new OffscreenCanvas(width, Math.min(rows, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += rows) {
    const band = Math.min(rows, height - top);
    context.drawImage(bitmap, 0, -top);
    const { data } = context.getImageData(0, 0, width, band);
    for (let i = 0, to = top * width; i < data.length; i += 4) values[to++] = data[i];
  }
  bitmap.close();
  return values;
}

/**
 * Draw an array on a canvas, each number in its colour; the canvas has as many pixels as are seen.
 * The nearest pixel is taken, so that no colour appears that no class has.
 */
export function paint(canvas, values, { width, height }, colors) {
  const shown = Math.min(width, Math.ceil(canvas.parentElement.clientWidth * devicePixelRatio) || width);
  const rows = Math.max(1, Math.round((shown * height) / width));
  const columns = Uint32Array.from({ length: shown }, (_, x) => Math.floor(((x + 0.5) * width) / shown));
  const image = new ImageData(shown, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0, to = 0; y < rows; y++) {
    const row = Math.floor(((y + 0.5) * height) / rows) * width;
    for (let x = 0; x < shown; x++) pixels[to++] = colors[values[row + columns[x]]];
  }
  canvas.width = shown;
  canvas.height = rows;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** One number for a canvas from red, green, blue and opacity: 0 to 255 each. */
export function rgba(r, g, b, a = 255) {
  return ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** The colours of the classes that are on; everything else is clear. */
export function classColors(categories, isOn) {
  const colors = new Uint32Array(65536);
  for (const { id, color } of categories) {
    const value = parseInt(color.slice(1), 16);
    if (isOn(id)) colors[id] = rgba(value >> 16, (value >> 8) & 255, value & 255);
  }
  return colors;
}

// Matplotlib's "inferno" at eighths of its range, as in visualize.py
const INFERNO = [
  [0, 0, 4], [33, 12, 74], [87, 16, 110], [138, 34, 106], [188, 55, 84],
  [228, 90, 49], [249, 142, 9], [249, 203, 53], [252, 255, 164],
]; // prettier-ignore

/** The colours of heat for grey values; the hotter, the more of them. */
export function heatColors(invert = false) {
  return Uint32Array.from({ length: 256 }, (_, grey) => {
    const heat = (invert ? 255 - grey : grey) / 255;
    const at = Math.min(7, Math.floor(heat * 8));
    const part = heat * 8 - at;
    const [r, g, b] = INFERNO[at].map((low, i) => Math.round(low + (INFERNO[at + 1][i] - low) * part));
    return rgba(r, g, b, Math.round(255 * Math.sqrt(heat)));
  });
}
