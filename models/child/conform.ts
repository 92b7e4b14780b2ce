// SPDX-License-Identifier: Apache-2.0
/**
 * Whether inputs and outputs are what the naming rules say: names by the grammar, roles, element types,
 * static shapes. And where they are not: which renaming and which fixed sizes would make them so.
 */
import { classesOf, type IoName, inputRoleOf, outputRoleOf, pairValue, parseIoName } from "../io-name.ts";
import type { Limits, NamedTensor, Report, Rule } from "../job.ts";
import { rule } from "./refusal.ts";

const CLASSES_OFFERED_MAX = 1000;
const BOX = 6;

export interface Conformed {
  rules: Rule[];
  classes: string[];
  repair: Report["Repair"];
}

export function conform(inputs: NamedTensor[], outputs: NamedTensor[], limits: Limits): Conformed {
  const rules: Rule[] = [];
  const say = (level: Rule["Level"], id: string, message: string) => rules.push(rule(level, id, message));
  const roles = new Map<string, NamedTensor>();
  for (const input of inputs) {
    const name = readName(input, "Input", say);
    dynamicDims(input, say);
    hugeInput(input, limits, say);
    const role = name === null ? null : inputRoleOf(name);
    if (role === null) {
      if (name !== null)
        say("error", "io.role", `Input ${shown(input)} is none of image-, nms_sensitivity- and mask-.`);
      continue;
    }
    if (roles.has(role)) say("error", "io.twice", `There are two inputs ${role}-.`);
    roles.set(role, input);
    INPUTS[role](input, say);
  }
  if (!roles.has("image")) say("error", "io.image-missing", "No input is called image-.");
  let known = 0;
  let classes: string[] = [];
  for (const output of outputs) {
    const name = readName(output, "Output", say);
    const role = name === null ? null : outputRoleOf(name);
    if (name === null || role === null) {
      if (name !== null)
        say(
          "error",
          "io.role",
          `Output ${shown(output)} is none of scores-, alarm- and bboxes-; what it means needs a post-processor.`,
        );
      continue;
    }
    known++;
    const listed = classesOf(name);
    if (!listed.ok) say("error", "io.classes", `Output ${shown(output)} ${listed.message}.`);
    else if (classes.length === 0) classes = listed.classes;
    OUTPUTS[role](output, name, listed.ok ? listed.classes.length : null, say);
  }
  if (known === 0) say("error", "io.output-missing", "No output is called scores-, alarm- or bboxes-.");
  const failed = rules.some(({ Level }) => Level === "error");
  return { rules, classes, repair: failed ? offer(inputs, outputs) : null };
}

type Say = (level: Rule["Level"], id: string, message: string) => void;

const shown = ({ Name }: NamedTensor) => JSON.stringify(Name.slice(0, 80));

function readName(tensor: NamedTensor, what: string, say: Say): IoName | null {
  const parsed = parseIoName(tensor.Name);
  if (parsed.ok) return parsed.name;
  say(
    "error",
    "io.name",
    `${what} ${shown(tensor)} ${parsed.fault.message}, at character ${parsed.fault.at}.`,
  );
  return null;
}

function dynamicDims(input: NamedTensor, say: Say): void {
  const open = input.Shape.flatMap((dim, index) => (typeof dim === "string" ? [index] : []));
  if (open.length > 0)
    say(
      "error",
      "io.dynamic",
      `Input ${shown(input)} has no fixed size in dimension ${open.join(", ")}; shapes are static.`,
    );
}

function hugeInput(input: NamedTensor, { elementsMax }: Limits, say: Say): void {
  const elements = input.Shape.reduce<number>((all, dim) => all * (typeof dim === "number" ? dim : 1), 1);
  if (elements > elementsMax)
    say("error", "io.huge", `Input ${shown(input)} has ${elements} values; the most is ${elementsMax}.`);
}

const isChannels = (dim: number | string | undefined) => dim === 1 || dim === 3;

const INPUTS: Record<"image" | "nms_sensitivity" | "mask", (input: NamedTensor, say: Say) => void> = {
  image: (input, say) => {
    const { DataType, Shape } = input;
    if (DataType !== "float32")
      say("error", "io.type", `Input ${shown(input)} is ${DataType}; an image is float32.`);
    const open = Shape.some((dim) => typeof dim === "string");
    const fits =
      Shape.length === 4 && (open || (Shape[0] === 1 && (isChannels(Shape[1]) || isChannels(Shape[3]))));
    if (!fits)
      say("error", "io.shape", `Input ${shown(input)} must be (1,C,H,W) or (1,H,W,C) with 1 or 3 channels.`);
  },
  nms_sensitivity: (input, say) => {
    if (input.DataType !== "float32" || input.Shape.length !== 1 || input.Shape[0] !== 1)
      say("error", "io.shape", `Input ${shown(input)} must be one float32.`);
  },
  mask: (input, say) => {
    if (input.DataType !== "bool" || input.Shape.length !== 2)
      say("error", "io.shape", `Input ${shown(input)} must be (H,W) of bool.`);
  },
};

type Outputs = Record<
  "scores" | "alarm" | "bboxes",
  (output: NamedTensor, name: IoName, classes: number | null, say: Say) => void
>;

const perClass =
  (DataType: string): Outputs["scores"] =>
  (output, _name, classes, say) => {
    const { Shape } = output;
    if (output.DataType !== DataType)
      say("error", "io.type", `Output ${shown(output)} is ${output.DataType}; it must be ${DataType}.`);
    const width = Shape[1];
    if (Shape.length !== 2 || (typeof Shape[0] === "number" && Shape[0] !== 1))
      say("error", "io.shape", `Output ${shown(output)} must be (1,classes).`);
    else if (classes !== null && typeof width === "number" && width !== classes)
      say("error", "io.classes", `Output ${shown(output)} names ${classes} classes and has ${width} values.`);
  };

const OUTPUTS: Outputs = {
  scores: perClass("float32"),
  alarm: perClass("bool"),
  bboxes: (output, name, _classes, say) => {
    const { DataType, Shape } = output;
    if (DataType !== "float32")
      say("error", "io.type", `Output ${shown(output)} is ${DataType}; boxes are float32.`);
    const width = Shape.at(-1);
    if ((Shape.length !== 2 && Shape.length !== 3) || (typeof width === "number" && width !== BOX))
      say("error", "io.shape", `Output ${shown(output)} must be (N,6).`);
    else if (Shape.length === 3)
      say("warning", "io.batch", `Output ${shown(output)} is (1,N,6); (N,6) is meant.`);
    const format = pairValue(name, "format");
    if (format === undefined)
      say("warning", "io.format", `Output ${shown(output)} does not say its format; xyxysc is assumed.`);
    else if (format !== "xyxysc")
      say("error", "io.format", `Output ${shown(output)} has a format other than xyxysc.`);
  },
};

/** Only what changes names and fixes sizes; null where that does not make a model of the kind there is. */
function offer(inputs: NamedTensor[], outputs: NamedTensor[]): Report["Repair"] {
  const Renames: Record<string, string> = {};
  const Freeze: Record<string, number | null> = {};
  const roleOf = ({ Name }: NamedTensor) => {
    const parsed = parseIoName(Name);
    return parsed.ok ? inputRoleOf(parsed.name) : null;
  };
  const images = inputs.filter((each) => roleOf(each) === "image");
  const others = inputs.filter((each) => roleOf(each) === null);
  const candidates = others.filter(looksLikeImage);
  if (images.length === 0) {
    if (candidates.length !== 1) return null;
    Renames[candidates[0]!.Name] = "image-";
  }
  if (others.length > (images.length === 0 ? 1 : 0)) return null;
  for (const input of inputs)
    for (const [index, dim] of input.Shape.entries())
      if (typeof dim === "string") Freeze[`${input.Name}[${index}]`] = index === 0 ? 1 : null;
  for (const output of outputs) {
    const parsed = parseIoName(output.Name);
    if (parsed.ok && outputRoleOf(parsed.name) !== null) continue;
    const name = outputs.length === 1 ? nameFor(output) : null;
    if (name === null) return null;
    Renames[output.Name] = name;
  }
  return { Renames, Freeze };
}

const looksLikeImage = ({ DataType, Shape }: NamedTensor) =>
  DataType === "float32" && Shape.length === 4 && (isChannels(Shape[1]) || isChannels(Shape[3]));

/** Numbers per class of one image. What the classes are called is its author's to say. */
function nameFor({ DataType, Shape }: NamedTensor): string | null {
  const [batch, width] = Shape;
  if (DataType !== "float32" || Shape.length !== 2 || typeof width !== "number") return null;
  if (typeof batch === "number" && batch !== 1) return null;
  if (width > CLASSES_OFFERED_MAX) return null;
  const pairs = Array.from({ length: width }, (_each, index) => `${index}:class ${index}`);
  return `scores-${pairs.join(";")}`;
}
