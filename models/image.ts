// SPDX-License-Identifier: Apache-2.0
/**
 * A picture to the numbers a model takes, and boxes back to the picture. `sharp` decodes; pictures are
 * strangers' bytes, so this runs where a stranger's bytes may be read.
 *
 *     Letterbox   whole, in the middle, grey around it     Stretch   to both sides     Crop   the middle of it
 */
import sharp from "sharp";

export interface Geometry {
  /** Of the picture in the model's input: where it begins and how much it was scaled. */
  left: number;
  top: number;
  scaleX: number;
  scaleY: number;
  width: number;
  height: number;
}

export interface ImageOptions {
  mean: number[];
  scale: number[];
  /** 0 = NCHW, 1 = NHWC. */
  order: number;
  resize: "Letterbox" | "Stretch" | "Crop";
}

export interface Prepared {
  values: Float32Array<ArrayBuffer>;
  geometry: Geometry;
}

const GREY = 114;
const PIXELS_MAX = 64 * 1024 * 1024;
const FIT = { Letterbox: "contain", Stretch: "fill", Crop: "cover" } as const;

export async function prepareImage(
  source: string | Buffer,
  { height, width, channels }: { height: number; width: number; channels: number },
  { mean, scale, order, resize }: ImageOptions,
): Promise<Prepared> {
  const image = sharp(source, { limitInputPixels: PIXELS_MAX, failOn: "error", animated: false });
  const oriented = image.autoOrient();
  const described = oriented.metadata();
  const resized = oriented
    .flatten({ background: { r: GREY, g: GREY, b: GREY } })
    .toColourspace(channels === 1 ? "b-w" : "srgb")
    .resize({ width, height, fit: FIT[resize], background: { r: GREY, g: GREY, b: GREY }, kernel: "linear" });
  const [{ data, info }, meta] = await Promise.all([
    resized.raw().toBuffer({ resolveWithObject: true }),
    described,
  ]);
  const size = { width: meta.autoOrient.width, height: meta.autoOrient.height };
  const area = width * height;
  const values = new Float32Array(area * channels);
  const step = order === 1 ? channels : 1;
  for (let channel = 0; channel < channels; channel++) {
    const [from, by] = [mean[channel] ?? 0, scale[channel] ?? 1];
    let to = order === 1 ? channel : channel * area;
    for (let at = channel; at < data.length; at += info.channels, to += step)
      values[to] = (data[at]! - from) / by;
  }
  return { values, geometry: geometryOf(size, { width, height }, resize) };
}

function geometryOf(
  size: { width: number; height: number },
  into: { width: number; height: number },
  resize: ImageOptions["resize"],
): Geometry {
  const [x, y] = [into.width / size.width, into.height / size.height];
  const one = resize === "Letterbox" ? Math.min(x, y) : Math.max(x, y);
  const [scaleX, scaleY] = resize === "Stretch" ? [x, y] : [one, one];
  return {
    ...{ scaleX, scaleY, width: size.width, height: size.height },
    left: (into.width - size.width * scaleX) / 2,
    top: (into.height - size.height * scaleY) / 2,
  };
}

/** A box in the model's input as one in the picture. */
export function boxInImage(box: readonly number[], geometry: Geometry): number[] {
  const { left, top, scaleX, scaleY, width, height } = geometry;
  const within = (value: number, most: number) => Math.min(Math.max(value, 0), most);
  return [
    within((box[0]! - left) / scaleX, width),
    within((box[1]! - top) / scaleY, height),
    within((box[2]! - left) / scaleX, width),
    within((box[3]! - top) / scaleY, height),
  ];
}
