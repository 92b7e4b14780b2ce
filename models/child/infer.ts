// SPDX-License-Identifier: Apache-2.0
/** One inference: given tensors or a picture in, tensors and what they mean out. */
import { type InferenceSession, Tensor } from "onnxruntime-node";
import { type Geometry, prepareImage } from "../image.ts";
import { INSIDE } from "../inside.ts";
import { inputRoleOf, parseIoName } from "../io-name.ts";
import type { Answer, GivenTensor, ImageOptions, Job } from "../job.ts";
import { meaningOf } from "../meaning.ts";
import { refuse } from "./refusal.ts";
import { load, run } from "./run.ts";

type Infer = Extract<Job, { op: "infer" }>;
type Inferred = Extract<Answer, { op: "infer" }>;

const DETECTIONS_MAX = 10_000;
const ELEMENTS_MAX = 1_000_000;

export async function infer({ limits, tensors, image }: Infer): Promise<Inferred> {
  const times = [performance.now()];
  const session = await load(INSIDE.input, limits, { graphOptimizationLevel: "all" });
  times.push(performance.now());
  const pictured = image === null ? null : await pictureFeeds(session, image);
  const feeds = pictured?.feeds ?? tensorFeeds(session, tensors ?? []);
  times.push(performance.now());
  const results = await run(session, feeds);
  times.push(performance.now());
  const size = Object.values(results).reduce((all, { data }) => all + data.length, 0);
  if (size > ELEMENTS_MAX)
    refuse("infer.outputs", `The outputs have ${size} values; the most that is answered is ${ELEMENTS_MAX}.`);
  const threshold = image?.threshold ?? 0;
  return {
    op: "infer",
    outputs: Object.entries(results).map(([name, each]) => given(name, each)),
    detections: Object.entries(results)
      .flatMap(([name, each]) => meaningOf(name, each, threshold, pictured?.geometry ?? null))
      .slice(0, DETECTIONS_MAX),
    timing: { Load: times[1]! - times[0]!, Prepare: times[2]! - times[1]!, Run: times[3]! - times[2]! },
  };
}

const roleOf = (name: string) => {
  const parsed = parseIoName(name);
  return parsed.ok ? inputRoleOf(parsed.name) : null;
};

async function pictureFeeds(session: InferenceSession, image: ImageOptions) {
  const feeds: Record<string, Tensor> = {};
  let geometry: Geometry | null = null;
  for (const meta of session.inputMetadata) {
    const role = roleOf(meta.name);
    const shape = meta.isTensor ? meta.shape : [];
    if (role === null || shape.some((dim) => typeof dim !== "number"))
      return refuse("infer.inputs", "The model takes more than a picture; send its inputs.");
    const dims = shape as number[];
    if (role === "nms_sensitivity") feeds[meta.name] = new Tensor("float32", [image.threshold], dims);
    if (role === "mask") feeds[meta.name] = new Tensor("bool", new Uint8Array(product(dims)).fill(1), dims);
    if (role !== "image") continue;
    const [height, width, channels] =
      image.order === 1 ? [dims[1]!, dims[2]!, dims[3]!] : [dims[2]!, dims[3]!, dims[1]!];
    const prepared = await prepareImage(INSIDE.other, { height, width, channels }, image).catch(() =>
      refuse("infer.image", "The file is no picture that can be read."),
    );
    feeds[meta.name] = new Tensor("float32", prepared.values, dims);
    geometry = prepared.geometry;
  }
  return { feeds, geometry };
}

const product = (dims: readonly number[]) => dims.reduce((all, dim) => all * dim, 1);

/** KServe's names of types, and the runtime's. */
const KINDS: Record<string, string> = {
  ...{ FP32: "float32", FP64: "float64", BOOL: "bool", UINT8: "uint8", INT8: "int8", INT16: "int16" },
  ...{
    UINT16: "uint16",
    INT32: "int32",
    UINT32: "uint32",
    INT64: "int64",
    UINT64: "uint64",
    BYTES: "string",
  },
};

function tensorFeeds(session: InferenceSession, tensors: GivenTensor[]): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const { name, shape, datatype, data } of tensors) {
    const meta = session.inputMetadata.find((each) => each.name === name);
    const kind = KINDS[datatype];
    if (meta?.isTensor !== true)
      return refuse("infer.inputs", `The model has no input ${JSON.stringify(name.slice(0, 80))}.`);
    if (kind !== meta.type)
      return refuse("infer.inputs", `Input ${JSON.stringify(name.slice(0, 80))} is ${meta.type}.`);
    const flat = (data as unknown[]).flat(8);
    if (flat.length !== product(shape))
      return refuse(
        "infer.inputs",
        `Input ${JSON.stringify(name.slice(0, 80))} has ${flat.length} values for its shape.`,
      );
    feeds[name] = tensorOf(kind, flat, shape);
  }
  const missing = session.inputNames.find((name) => !(name in feeds));
  if (missing !== undefined)
    refuse("infer.inputs", `Input ${JSON.stringify(missing.slice(0, 80))} is missing.`);
  return feeds;
}

function tensorOf(kind: string, values: unknown[], shape: number[]): Tensor {
  try {
    if (kind === "string") return new Tensor("string", values.map(String), shape);
    if (kind === "bool")
      return new Tensor(
        "bool",
        Uint8Array.from(values, (each) => (each ? 1 : 0)),
        shape,
      );
    if (kind === "int64")
      return new Tensor(
        "int64",
        BigInt64Array.from(values, (each) => BigInt(each as number)),
        shape,
      );
    if (kind === "uint64")
      return new Tensor(
        "uint64",
        BigUint64Array.from(values, (each) => BigInt(each as number)),
        shape,
      );
    return new Tensor(kind as "float32", values.map(Number) as never, shape);
  } catch {
    return refuse("infer.inputs", `Some value is no ${kind}.`);
  }
}

function given(name: string, { type, dims, data }: Tensor): Inferred["outputs"][number] {
  const datatype = Object.keys(KINDS).find((key) => KINDS[key] === type) ?? type.toUpperCase();
  const values = Array.from(data as ArrayLike<unknown>, (each) =>
    typeof each === "bigint" ? Number(each) : type === "bool" ? Boolean(each) : each,
  );
  // JSON has no word for what is no number.
  const plain = values.map((each) => (typeof each === "number" && !Number.isFinite(each) ? null : each));
  return { name, datatype, shape: [...dims], data: plain as number[] };
}
