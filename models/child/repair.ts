// SPDX-License-Identifier: Apache-2.0
/**
 * Renames inputs and outputs and fixes sizes: edits of the graph's own names and declared shapes, which
 * change nothing that is computed. What was declared of values in between no longer holds, so it goes;
 * shapes of outputs are declared anew from what a run gave.
 */
import { create } from "@bufbuild/protobuf";
import {
  type GraphProto,
  type ModelProto,
  type TensorShapeProto,
  TensorShapeProto_DimensionSchema,
  type ValueInfoProto,
} from "onnx-buf";
import { parseIoName } from "../io-name.ts";
import type { Repair } from "../job.ts";
import { graphsIn } from "./graph.ts";
import { inputsOf } from "./read-model.ts";
import { refuse } from "./refusal.ts";

const SIZE_MAX = 65_536;

export function repairModel(model: ModelProto, { renames, freeze }: Repair): void {
  const graph = model.graph!;
  const used = new Set<string>();
  for (const input of inputsOf(model))
    for (const [index, dim] of (shapeOf(input)?.dim ?? []).entries()) {
      const named = dim.value.case === "dimParam" ? dim.value.value : "";
      const key = [`${input.name}[${index}]`, named].find(
        (each) => each !== "" && Object.hasOwn(freeze, each),
      );
      if (key === undefined) continue;
      used.add(key);
      const size = freeze[key]!;
      if (!Number.isInteger(size) || size < 1 || size > SIZE_MAX)
        refuse("repair.freeze", `${key} must be fixed to 1 to ${SIZE_MAX}.`);
      if (dim.value.case === "dimValue" && dim.value.value > 0n && dim.value.value !== BigInt(size))
        refuse("repair.freeze", `${key} is ${dim.value.value} already.`);
      dim.value = { case: "dimValue", value: BigInt(size) };
    }
  const unused = Object.keys(freeze).find((key) => !used.has(key));
  if (unused !== undefined)
    refuse("repair.freeze", `There is no dimension ${JSON.stringify(unused.slice(0, 80))}.`);
  if (used.size > 0) forgetShapes(graph);
  rename(graph, inputsOf(model), renames);
}

function rename(graph: GraphProto, inputs: ValueInfoProto[], renames: Record<string, string>): void {
  const ends = new Set([...inputs, ...graph.output].map(({ name }) => name));
  const taken = new Set([
    ...graph.node.flatMap(({ output }) => output),
    ...[...graph.input, ...graph.initializer].map(({ name }) => name),
  ]);
  const to = new Map(Object.entries(renames));
  for (const [from, name] of to) {
    if (!ends.has(from))
      refuse("repair.rename", `There is no input or output ${JSON.stringify(from.slice(0, 80))}.`);
    const parsed = parseIoName(name);
    if (!parsed.ok) refuse("repair.rename", `The new name ${JSON.stringify(name.slice(0, 80))} is none.`);
    if (taken.has(name) && name !== from)
      refuse(
        "repair.rename",
        `Something in the graph is called ${JSON.stringify(name.slice(0, 80))} already.`,
      );
    taken.add(name);
  }
  renameIn(graph, to);
}

/** In nested graphs too: what they take from outside they call by its name. */
function renameIn(graph: GraphProto, to: ReadonlyMap<string, string>): void {
  const now = (name: string) => to.get(name) ?? name;
  for (const each of [...graph.input, ...graph.output, ...graph.valueInfo]) each.name = now(each.name);
  for (const tensor of graph.initializer) tensor.name = now(tensor.name);
  for (const node of graph.node) {
    node.input = node.input.map(now);
    node.output = node.output.map(now);
    for (const inner of graphsIn(node)) renameIn(inner, to);
  }
}

function forgetShapes(graph: GraphProto): void {
  graph.valueInfo = [];
  for (const output of graph.output)
    for (const dim of shapeOf(output)?.dim ?? [])
      if (dim.value.case === "dimParam") dim.value = { case: undefined };
  for (const node of graph.node) for (const inner of graphsIn(node)) forgetShapes(inner);
}

/** `shapes` by the output's name, as a run gave them. */
export function declareOutputs(model: ModelProto, shapes: ReadonlyMap<string, readonly number[]>): void {
  for (const output of model.graph!.output) {
    const shape = shapeOf(output);
    const seen = shapes.get(output.name);
    if (shape === undefined || seen === undefined) continue;
    shape.dim = seen.map((size) =>
      create(TensorShapeProto_DimensionSchema, { value: { case: "dimValue", value: BigInt(size) } }),
    );
  }
}

const shapeOf = ({ type }: ValueInfoProto): TensorShapeProto | undefined =>
  type?.value.case === "tensorType" ? type.value.value.shape : undefined;
