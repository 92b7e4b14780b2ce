// SPDX-License-Identifier: Apache-2.0
/**
 * Pipelines over one picture: a model, and what is chained to it.
 *
 *     Direct             the child sees the same picture, and of the parent's outputs those it has inputs for
 *     Conditional        only when the parent's alarm of that name is true
 *     FeatureExtraction  on each of the parent's boxes of that class, cut out of the picture
 */
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";
import { prepareImage } from "../models/image.ts";
import { inputRoleOf, parseIoName } from "../models/io-name.ts";
import { meaningOf } from "../models/meaning.ts";
import type { ManifestArtifact, WishedPipeline } from "./wish.ts";

export interface Detection {
  Class: string;
  Score: number;
  /** xmin, ymin, xmax, ymax in pixels of the picture; empty for what is about the whole of it. */
  Box: number[];
}

export interface Found {
  Pipeline: string;
  Name: string;
  Detections: Detection[];
  Chains: Found[];
}

export interface Loaded {
  session: InferenceSession;
  artifact: ManifestArtifact;
  turns: Turns;
}

/** One model computes at a time, with the threads that it was given, while the next picture is decoded. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }
}

/** Of boxes that a model gives without having been told how sure to be. */
const NMS_DEFAULT = 0.5;
/** Rows of a fixed number of boxes that say nothing have the score 0. */
const SCORE_MIN = 1e-6;
/** Of one picture: a model that finds a thousand things does not get a thousand runs. */
const CROPS_MAX = 16;

export const load = async (
  artifact: ManifestArtifact,
  path: string,
  { threads, turns }: { threads: number; turns: Turns },
): Promise<Loaded> => ({
  ...{ artifact, turns },
  session: await InferenceSession.create(path, {
    ...{ intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: "sequential", logSeverityLevel: 3 },
    ...(artifact.MediaType === "application/x-ort" && { extra: { session: { load_model_format: "ORT" } } }),
  }),
});

export const modelKey = (model: string, version: number): string => `${model} ${version}`;

export async function runPipeline(
  models: ReadonlyMap<string, Loaded>,
  pipeline: WishedPipeline,
  picture: Buffer,
  given: Record<string, Tensor> = {},
): Promise<Found> {
  const loaded = models.get(modelKey(pipeline.modelUUID, pipeline.modelVersion));
  if (loaded === undefined) throw new Error(`the model of ${pipeline.Name} is not there`);
  const { feeds, geometry } = await feedsOf(loaded, pipeline, picture, given);
  const outputs = await loaded.turns.take(() => loaded.session.run(feeds));
  const all = Object.entries(outputs).flatMap(([name, output]) =>
    meaningOf(name, output as never, SCORE_MIN, geometry),
  );
  const { Classes, Mask } = pipeline;
  const Detections = all.filter(
    (one) =>
      (Classes === undefined || Classes.includes(one.Class)) &&
      (Mask === undefined || geometry === null || isWithin(one.Box, Mask, geometry)),
  );
  const Chains: Found[] = [];
  for (const chain of pipeline.chains) {
    if (chain.Mode === "Direct")
      Chains.push(await runPipeline(models, chain, picture, outputs as Record<string, Tensor>));
    else if (chain.Mode === "Conditional") {
      if (all.some(({ Class, Score, Box }) => Box.length === 0 && Class === chain.Field && Score > 0))
        Chains.push(await runPipeline(models, chain, picture));
    } else {
      const wanted = Detections.filter(
        ({ Class, Box }) => Box.length === 4 && (chain.Label === undefined || Class === chain.Label),
      );
      for (const { Box } of wanted.slice(0, CROPS_MAX)) {
        const part = await cut(picture, Box);
        if (part !== null) Chains.push(moved(await runPipeline(models, chain, part.picture), part));
      }
    }
  }
  return { Pipeline: pipeline.UUID, Name: pipeline.Name, Detections, Chains };
}

async function feedsOf(
  { session, artifact }: Loaded,
  { resizingMethod: resize, modelNMS = NMS_DEFAULT }: WishedPipeline,
  picture: Buffer,
  given: Record<string, Tensor>,
) {
  const { means = [], vars = [], order = 0 } = artifact.InputDriverDetails;
  const feeds: Record<string, Tensor> = {};
  let geometry: Awaited<ReturnType<typeof prepareImage>>["geometry"] | null = null;
  for (const meta of session.inputMetadata) {
    if (!meta.isTensor || meta.shape.some((dim) => typeof dim !== "number"))
      throw new Error("the model has an input that is not of a fixed size");
    const dims = meta.shape as number[];
    const parsed = parseIoName(meta.name);
    const role = parsed.ok ? inputRoleOf(parsed.name) : null;
    const size = dims.reduce((all, dim) => all * dim, 1);
    if (role === "image") {
      const [height, width, channels] =
        order === 1 ? [dims[1]!, dims[2]!, dims[3]!] : [dims[2]!, dims[3]!, dims[1]!];
      const options = { mean: means, scale: vars, order, resize };
      const prepared = await prepareImage(picture, { height, width, channels }, options);
      feeds[meta.name] = new Tensor("float32", prepared.values, dims);
      geometry = prepared.geometry;
    } else if (role === "nms_sensitivity") feeds[meta.name] = new Tensor("float32", [modelNMS], dims);
    else if (role === "mask") feeds[meta.name] = new Tensor("bool", new Uint8Array(size).fill(1), dims);
    else if (given[meta.name] !== undefined) feeds[meta.name] = given[meta.name]!;
    else throw new Error(`the model has an input ${meta.name.slice(0, 80)} that nothing gives`);
  }
  return { feeds, geometry };
}

/** Its middle lies in one of the polygons; what is about the whole picture counts always. */
function isWithin(
  box: readonly number[],
  polygons: readonly (readonly [number, number][])[],
  { width, height }: { width: number; height: number },
): boolean {
  if (box.length !== 4) return true;
  const [x, y] = [(box[0]! + box[2]!) / 2 / width, (box[1]! + box[3]!) / 2 / height];
  return polygons.some((points) => {
    let inside = false;
    for (let at = 0, before = points.length - 1; at < points.length; before = at++) {
      const [x1, y1] = points[at]!;
      const [x2, y2] = points[before]!;
      if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
    }
    return inside;
  });
}

interface Part {
  picture: Buffer;
  left: number;
  top: number;
}

/** Null: nothing of it lies in the picture. */
async function cut(picture: Buffer, box: readonly number[]): Promise<Part | null> {
  const [left, top, right, bottom] = [
    ...[Math.floor(box[0]!), Math.floor(box[1]!)],
    ...[Math.ceil(box[2]!), Math.ceil(box[3]!)],
  ] as [number, number, number, number];
  if (right - left < 1 || bottom - top < 1) return null;
  const area = { left, top, width: right - left, height: bottom - top };
  return { picture: await sharp(picture).autoOrient().extract(area).png().toBuffer(), left, top };
}

/** From the part's pixels to the picture's. */
const moved = (found: Found, { left, top }: Part): Found => ({
  ...found,
  Detections: found.Detections.map((one) => ({
    ...one,
    Box: one.Box.map((value, at) => value + (at % 2 === 0 ? left : top)),
  })),
  Chains: found.Chains.map((chain) => moved(chain, { picture: Buffer.alloc(0), left, top })),
});
