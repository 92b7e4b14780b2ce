// SPDX-License-Identifier: Apache-2.0
/**
 * The validation report of one file: what it is, what is in it, and every rule it breaks. What can be
 * said without running it is said first; a graph that is sound is then loaded and run once, on seeded
 * inputs, because only the runtime knows every operator of every opset.
 */
import { writeFileSync } from "node:fs";
import { toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema } from "onnx-buf";
import type { InferenceSession } from "onnxruntime-node";
import { INSIDE } from "../inside.ts";
import type { Format, Limits, NamedTensor, Repair, Report, Rule } from "../job.ts";
import { takeModelOut } from "./archive.ts";
import { conform } from "./conform.ts";
import { walk } from "./graph.ts";
import { isOrt, isTflite } from "./identifier.ts";
import { inputsOf, namedTensor, readModel } from "./read-model.ts";
import { Refusal, rule } from "./refusal.ts";
import { declareOutputs, repairModel } from "./repair.ts";
import { load, run, seededInputs } from "./run.ts";
import { readTflite } from "./tflite.ts";

const LISTED_MAX = 256;
const SEED = 1;

export interface Inspected {
  report: Report;
  /** ONNX that conforms, or would if its report said so: as it was given, or as it was repaired. */
  path: string;
  /** Compiled for this chip by its owner; null: for any. */
  chip: string | null;
}

export async function inspect(format: Format, limits: Limits, repair: Repair | null): Promise<Inspected> {
  if (format === "tflite") return tflite(limits);
  const given = format === "zip" ? await takeModelOut(INSIDE.input, INSIDE.model) : INSIDE.input;
  if (format === "ort" || isOrt(given)) return ortFormat(given, limits);
  const model = readModel(given);
  const chip = chipOf(model);
  const before = walk(model, limits);
  const soundBefore = !before.rules.some(({ Level }) => Level === "error");
  let path = given;
  if (repair !== null && soundBefore) {
    repairModel(model, repair);
    path = INSIDE.model;
    writeFileSync(path, toBinary(ModelProtoSchema, model));
    if (Object.keys(repair.freeze).length > 0) {
      declareOutputs(model, await shapesByRun(path, limits));
      writeFileSync(path, toBinary(ModelProtoSchema, model));
    }
  }
  // A compiler's own operators are all that a compiled model has.
  const foreign = ({ Id }: Rule) => chip !== null && Id === "onnx.custom-operator";
  const rules = [...headerRules(model, limits), ...before.rules.filter((each) => !foreign(each))];
  const [inputs, outputs] = [inputsOf(model), model.graph!.output].map((list) =>
    list.slice(0, LISTED_MAX).map(namedTensor),
  );
  const conformed = conform(inputs!, outputs!, limits);
  rules.push(...conformed.rules);
  if (chip !== null)
    rules.push(
      rule("info", "device.compiled", `Compiled for ${chip}; it is kept as it is and not run here.`),
    );
  else if (soundBefore) rules.push(...(await tried(path, limits, rules)));
  return {
    ...{ path, chip },
    report: {
      Conforms: !rules.some(({ Level }) => Level === "error"),
      Rules: rules.slice(0, 200),
      Opset: opsetOf(model),
      IRVersion: Number(model.irVersion),
      Producer: [model.producerName, model.producerVersion]
        .filter((each) => each !== "")
        .join(" ")
        .slice(0, 200),
      Operators: before.operators,
      Parameters: before.parameters,
      ...{ Inputs: inputs!, Outputs: outputs!, Classes: conformed.classes },
      Repair: soundBefore ? conformed.repair : null,
    },
  };
}

/** What cannot be told from the graph: the runtime takes it, and it runs. */
async function tried(path: string, limits: Limits, already: Rule[]): Promise<Rule[]> {
  try {
    const session = await load(path, limits);
    const huge = already.some(({ Id }) => Id === "io.huge");
    const feeds = huge ? null : seededInputs(session, SEED);
    if (feeds !== null) await run(session, feeds);
    await session.release();
    return [];
  } catch (error) {
    if (error instanceof Refusal) return error.rules;
    throw error;
  }
}

async function shapesByRun(path: string, limits: Limits): Promise<Map<string, readonly number[]>> {
  const session = await load(path, limits);
  const feeds = seededInputs(session, SEED);
  const outputs = feeds === null ? {} : await run(session, feeds);
  await session.release();
  return new Map(Object.entries(outputs).map(([name, { dims }]) => [name, dims]));
}

function headerRules(model: ModelProto, { opsetMax, irVersionMax }: Limits): Rule[] {
  const rules: Rule[] = [];
  const opset = opsetOf(model);
  if (opset === null)
    rules.push(rule("error", "onnx.opset", "The model names no version of the ONNX operators."));
  else if (opset > opsetMax)
    rules.push(
      rule("error", "onnx.opset", `The model uses opset ${opset}; the highest that is taken is ${opsetMax}.`),
    );
  const version = Number(model.irVersion);
  if (version < 3 || version > irVersionMax)
    rules.push(
      rule(
        "error",
        "onnx.ir-version",
        `The model has IR version ${version}; 3 to ${irVersionMax} are taken.`,
      ),
    );
  if (model.trainingInfo.length > 0)
    rules.push(
      rule(
        "error",
        "onnx.training",
        "The model carries training information; a model for inference has none.",
      ),
    );
  if (model.graph!.node.length === 0)
    rules.push(rule("error", "onnx.no-nodes", "The graph computes nothing."));
  return rules;
}

const opsetOf = (model: ModelProto): number | null => {
  const version = model.opsetImport.find(({ domain }) => domain === "" || domain === "ai.onnx")?.version;
  return version === undefined ? null : Number(version);
};

/** As compilers for accelerators leave it in the file they make. */
function chipOf(model: ModelProto): string | null {
  const value = model.metadataProps.find(({ key }) => key === "chip")?.value;
  return value === "hailo" || value === "hailo-8l" ? value : null;
}

const NOTHING: Omit<Report, "Rules" | "Conforms"> = {
  ...{ Opset: null, IRVersion: null, Producer: "", Operators: {}, Parameters: 0 },
  ...{ Inputs: [], Outputs: [], Classes: [], Repair: null },
};

function tflite(limits: Limits): Inspected {
  const report = isTflite(INSIDE.input)
    ? readTflite(INSIDE.input, limits)
    : {
        ...{ ...NOTHING, Conforms: false },
        Rules: [rule("error", "format.unreadable", "The file is no TensorFlow Lite model.")],
      };
  return { path: INSIDE.input, chip: null, report };
}

async function ortFormat(path: string, limits: Limits): Promise<Inspected> {
  if (!isOrt(path))
    throw new Refusal([rule("error", "format.unreadable", "The file is no model in ORT format.")]);
  const session = await load(path, limits);
  const described = (list: readonly InferenceSession.ValueMetadata[]): NamedTensor[] =>
    list.slice(0, LISTED_MAX).map((meta) => ({
      Name: meta.name,
      DataType: meta.isTensor ? meta.type : "none",
      Shape: meta.isTensor ? meta.shape.slice(0, 16).map((dim) => (dim === -1 ? "" : dim)) : [],
    }));
  const [Inputs, Outputs] = [described(session.inputMetadata), described(session.outputMetadata)];
  const { rules, classes } = conform(Inputs, Outputs, limits);
  const feeds = rules.some(({ Level }) => Level === "error") ? null : seededInputs(session, SEED);
  if (feeds !== null) await run(session, feeds);
  await session.release();
  rules.push(
    rule("warning", "format.ort", "A model in ORT format runs as it is and is not converted again."),
  );
  return {
    ...{ path, chip: null },
    report: {
      ...NOTHING,
      ...{ Conforms: !rules.some(({ Level }) => Level === "error"), Rules: rules },
      ...{ Inputs, Outputs, Classes: classes },
    },
  };
}
