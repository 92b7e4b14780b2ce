// SPDX-License-Identifier: Apache-2.0
/** onnxruntime over one file: sessions, seeded inputs, and how far two sessions are apart. */
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { Deviation, Limits } from "../job.ts";
import { isOrt } from "./identifier.ts";
import { refuse } from "./refusal.ts";

export type SessionOptions = InferenceSession.SessionOptions;

/** What the runtime says of a file it does not take, without the places where the file lay. */
export async function load(
  path: string,
  { threads }: Limits,
  more: SessionOptions = {},
): Promise<InferenceSession> {
  // By itself the runtime goes by the name of the file, and our names say nothing.
  const format = isOrt(path) ? { extra: { session: { load_model_format: "ORT" } } } : {};
  try {
    return await InferenceSession.create(path, {
      ...{ intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: "sequential" },
      ...{ logSeverityLevel: 3, graphOptimizationLevel: "disabled" },
      ...format,
      ...more,
    });
  } catch (error) {
    const said = wordsOf(error);
    const unknown = /No Op registered for (\S{1,100})(?: with domain_version of (\d+))?/.exec(said);
    if (unknown !== null)
      return refuse(
        "onnx.unknown-operator",
        `No operator ${unknown[1]} is known at opset ${unknown[2] ?? "given"}.`,
      );
    return refuse("runtime.refused", `The runtime does not take the model: ${said}`);
  }
}

export async function run(
  session: InferenceSession,
  feeds: Record<string, Tensor>,
): Promise<InferenceSession.ReturnType> {
  try {
    return await session.run(feeds);
  } catch (error) {
    return refuse("runtime.failed", `The model does not run: ${wordsOf(error)}`);
  }
}

const wordsOf = (error: unknown) =>
  (error instanceof Error ? error.message : String(error))
    .replaceAll(/\/job\/\w+/g, "the file")
    .replaceAll(/\/[\w./-]*onnxruntime[\w./-]*/g, "")
    .slice(0, 400);

/** Inputs that are the same for the same seed; null when one has a type or a shape that none is made for. */
export function seededInputs(session: InferenceSession, seed: number): Record<string, Tensor> | null {
  const random = generator(seed);
  const feeds: Record<string, Tensor> = {};
  for (const meta of session.inputMetadata) {
    if (!meta.isTensor) return null;
    const shape = meta.shape.map((dim) => (typeof dim === "number" ? dim : -1));
    if (shape.some((dim) => dim < 1)) return null;
    const size = shape.reduce((all, dim) => all * dim, 1);
    const tensor = filled(meta.type, shape, size, random);
    if (tensor === null) return null;
    feeds[meta.name] = tensor;
  }
  return feeds;
}

function filled(type: string, shape: number[], size: number, random: () => number): Tensor | null {
  const floats = () => Float32Array.from({ length: size }, random);
  const whole = () => Math.floor(random() * 10);
  if (type === "float32") return new Tensor("float32", floats(), shape);
  if (type === "float64") return new Tensor("float64", Float64Array.from({ length: size }, random), shape);
  if (type === "bool")
    return new Tensor(
      "bool",
      Uint8Array.from({ length: size }, () => whole() & 1),
      shape,
    );
  if (type === "uint8") return new Tensor("uint8", Uint8Array.from({ length: size }, whole), shape);
  if (type === "int32") return new Tensor("int32", Int32Array.from({ length: size }, whole), shape);
  if (type === "int64")
    return new Tensor(
      "int64",
      BigInt64Array.from({ length: size }, () => BigInt(whole())),
      shape,
    );
  return null;
}

/** mulberry32: small, and the same everywhere. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Null maxima say that nothing was measured: no output of floats, or one that is no number in one of the two. */
export async function deviation(
  original: InferenceSession,
  variant: InferenceSession,
  seed: number,
  samples: number,
): Promise<Deviation> {
  const found = { absolute: 0, relative: 0, compared: 0, mismatches: 0, lost: false };
  let done = 0;
  for (; done < samples; done++) {
    const feeds = seededInputs(original, seed + done);
    if (feeds === null) break;
    const [expected, actual] = [await run(original, feeds), await run(variant, feeds)];
    for (const name of original.outputNames) compare(expected[name], actual[name], found);
  }
  const measured = found.compared > 0 && !found.lost;
  return {
    MaxAbsolute: measured ? found.absolute : null,
    MaxRelative: measured ? found.relative : null,
    Mismatches: found.mismatches,
    Samples: done,
  };
}

interface Found {
  absolute: number;
  relative: number;
  compared: number;
  mismatches: number;
  lost: boolean;
}

function compare(expected: Tensor | undefined, actual: Tensor | undefined, found: Found): void {
  if (expected === undefined || actual === undefined || `${expected.dims}` !== `${actual.dims}`) {
    found.lost = true;
    return;
  }
  const [one, other] = [expected.data, actual.data] as [ArrayLike<unknown>, ArrayLike<unknown>];
  const floats = expected.type === "float32" || expected.type === "float64";
  for (let index = 0; index < one.length; index++) {
    if (!floats) {
      if (one[index] !== other[index]) found.mismatches++;
      continue;
    }
    const [a, b] = [one[index] as number, other[index] as number];
    found.compared++;
    if (Object.is(a, b)) continue;
    const difference = Math.abs(a - b);
    if (!Number.isFinite(difference)) found.lost = true;
    found.absolute = Math.max(found.absolute, difference);
    found.relative = Math.max(found.relative, difference / Math.max(Math.abs(a), 1e-6));
  }
}
