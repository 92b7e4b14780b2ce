// SPDX-License-Identifier: Apache-2.0
/**
 * One artefact of one model, and how far it computes from the original. What goes in is inspected again:
 * nobody's word counts that it was once found good. The artefact is loaded back before it is answered.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { INSIDE } from "../inside.ts";
import type { Answer, Job, Limits, TargetName } from "../job.ts";
import { inspect } from "./inspect.ts";
import { Refusal, refuse } from "./refusal.ts";
import { deviation, load, type SessionOptions } from "./run.ts";
import { shrinkWeights } from "./weights.ts";

type Convert = Extract<Job, { op: "convert" }>;
export type Say = (progress: number, log: string) => void;

const SAMPLES = 3;

export async function convert(job: Convert, say: Say): Promise<Extract<Answer, { op: "convert" }>> {
  const { limits, target, level, seed } = job;
  const { report, path, chip } = await inspect(job.format, limits, job.repair);
  const errors = report.Rules.filter(({ Level }) => Level === "error");
  if (errors.length > 0) throw new Refusal(errors);
  if (chip !== null)
    refuse("convert.compiled", `The model was compiled for ${chip} and is not converted again.`);
  if (report.IRVersion === null) refuse("convert.format", "Only ONNX is converted here.");
  say(0.3, `validated: ${report.Parameters} parameters, opset ${report.Opset}`);
  const begun = performance.now();
  await MAKE[target](path, level, limits, say);
  const convertMs = performance.now() - begun;
  say(0.7, `written as ${target} in ${Math.round(convertMs)} ms`);
  const original = await load(path, limits);
  const variant = await load(INSIDE.out, limits, { graphOptimizationLevel: "all" });
  const found = await deviation(original, variant, seed, SAMPLES);
  if (found.Samples === 0)
    refuse("convert.unmeasured", "No inputs could be made for the model, so nothing was compared.");
  const most = found.MaxAbsolute === null ? "not measured" : found.MaxAbsolute.toExponential(2);
  say(1, `compared on ${found.Samples} inputs: largest difference ${most}, ${found.Mismatches} mismatches`);
  return { op: "convert", report, deviation: found, convertMs };
}

type Make = (path: string, level: "basic" | "extended", limits: Limits, say: Say) => Promise<void>;

const optimised =
  (format: "ONNX" | "ORT"): Make =>
  (path, level, limits) =>
    save(path, INSIDE.out, level, format, limits);

const smaller =
  (type: "float16" | "int8"): Make =>
  async (path, _level, limits, say) => {
    await save(path, INSIDE.scratch, "basic", "ONNX", limits);
    const model = fromBinary(ModelProtoSchema, readFileSync(INSIDE.scratch));
    const count = shrinkWeights(model, type);
    say(0.5, `${count} weights stored as ${type}`);
    if (count === 0) refuse("convert.no-weights", "The model has no weights that this target makes smaller.");
    writeFileSync(INSIDE.out, toBinary(ModelProtoSchema, model));
  };

const MAKE: Record<TargetName, Make> = {
  onnx: optimised("ONNX"),
  ort: optimised("ORT"),
  float16: smaller("float16"),
  int8: smaller("int8"),
};

/** The runtime writes the file while it makes the session. `extended` is the most that any processor can load. */
async function save(
  from: string,
  to: string,
  level: "basic" | "extended",
  format: "ONNX" | "ORT",
  limits: Limits,
): Promise<void> {
  const options: SessionOptions = {
    graphOptimizationLevel: level,
    optimizedModelFilePath: to,
    extra: { session: { save_model_format: format } },
  };
  await (await load(from, limits, options)).release();
}
