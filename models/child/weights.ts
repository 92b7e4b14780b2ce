// SPDX-License-Identifier: Apache-2.0
/**
 * Smaller weights, computing as before: a weight is stored as float16, or as int8 with one scale for each
 * channel, and the graph itself makes float32 of it again (Cast, Mul), which any runtime and any opset
 * knows. So a file gets smaller and no faster, which is what `scheme=weight-only` says.
 *
 * Weights must be initializers: `basic` optimisation makes them of the Constant nodes that some exporters
 * write, so it comes first.
 */
import { create } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type ModelProto,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from "onnx-buf";

/** Smaller ones gain nothing: the nodes added are as large. */
const ELEMENTS_MIN = 256;
const FLOAT16_MAX = 65_504;
const [FLOAT, INT8, FLOAT16] = [1, 3, 10];

/** Answers how many weights were made smaller. */
export function shrinkWeights(model: ModelProto, type: "float16" | "int8"): number {
  const graph = model.graph!;
  const axes = channelAxes(graph.node);
  const added: NodeProto[] = [];
  const kept: TensorProto[] = [];
  const names = new Set([
    ...graph.initializer.map(({ name }) => name),
    ...graph.node.flatMap(({ output }) => output),
  ]);
  const fresh = (name: string) => {
    let free = name;
    for (let n = 0; names.has(free); n++) free = `${name}_${n}`;
    names.add(free);
    return free;
  };
  const outputs = new Set(graph.output.map(({ name }) => name));
  const shrunk = new Set<string>();
  for (const tensor of graph.initializer) {
    const axis = axes.get(tensor.name);
    const values = axis === undefined || outputs.has(tensor.name) ? null : floatsOf(tensor);
    const small =
      values === null ? null : type === "float16" ? asFloat16(tensor, values) : asInt8(tensor, values, axis!);
    if (small === null) {
      kept.push(tensor);
      continue;
    }
    shrunk.add(tensor.name);
    small.stored.name = fresh(`${tensor.name}__${type}`);
    kept.push(small.stored);
    if (small.scale === null) {
      added.push(cast(small.stored.name, tensor.name));
      continue;
    }
    small.scale.name = fresh(`${tensor.name}__scale`);
    kept.push(small.scale);
    const between = fresh(`${tensor.name}__float`);
    added.push(cast(small.stored.name, between));
    added.push(
      create(NodeProtoSchema, { opType: "Mul", input: [between, small.scale.name], output: [tensor.name] }),
    );
  }
  graph.initializer = kept;
  graph.node = [...added, ...graph.node];
  // Before IR version 4 weights are declared as inputs too.
  graph.input = graph.input.filter(({ name }) => !shrunk.has(name));
  return shrunk.size;
}

const cast = (input: string, output: string): NodeProto =>
  create(NodeProtoSchema, {
    opType: "Cast",
    ...{ input: [input], output: [output] },
    attribute: [
      create(AttributeProtoSchema, { name: "to", type: AttributeProto_AttributeType.INT, i: BigInt(FLOAT) }),
    ],
  });

/** Weights of the heavy operators, by name, and which dimension counts their output channels. */
function channelAxes(nodes: NodeProto[]): Map<string, number> {
  const axes = new Map<string, number>();
  for (const { opType, input, attribute } of nodes) {
    const name = input[1];
    if (name === undefined || axes.has(name)) continue;
    if (opType === "Conv") axes.set(name, 0);
    if (opType === "ConvTranspose") axes.set(name, 1);
    if (opType === "MatMul") axes.set(name, -1);
    if (opType === "Gemm") axes.set(name, attribute.find((each) => each.name === "transB")?.i === 1n ? 0 : 1);
  }
  return axes;
}

function floatsOf({ dataType, dims, rawData, floatData }: TensorProto): Float32Array | null {
  const size = dims.reduce((all, dim) => all * Number(dim), 1);
  if (dataType !== FLOAT || size < ELEMENTS_MIN) return null;
  // A copy: the bytes lie anywhere in the file, and floats must lie at a multiple of four.
  const values =
    rawData.length > 0 ? new Float32Array(new Uint8Array(rawData).buffer) : Float32Array.from(floatData);
  return values.length === size ? values : null;
}

interface Small {
  stored: TensorProto;
  scale: TensorProto | null;
}

const bytesOf = (values: Float16Array | Int8Array | Float32Array) =>
  new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);

function asFloat16({ dims }: TensorProto, values: Float32Array): Small | null {
  for (const value of values) if (!(Math.abs(value) <= FLOAT16_MAX)) return null;
  const rawData = bytesOf(new Float16Array(values));
  return { stored: create(TensorProtoSchema, { dims, dataType: FLOAT16, rawData }), scale: null };
}

function asInt8({ dims }: TensorProto, values: Float32Array, axis: number): Small | null {
  const shape = dims.map(Number);
  const at = axis < 0 ? shape.length + axis : axis;
  const channels = shape[at];
  if (channels === undefined) return null;
  const inner = shape.slice(at + 1).reduce((all, dim) => all * dim, 1);
  const scales = new Float32Array(channels);
  for (const [index, value] of values.entries()) {
    const channel = Math.floor(index / inner) % channels;
    const size = Math.abs(value);
    if (!Number.isFinite(size)) return null;
    if (size > scales[channel]!) scales[channel] = size;
  }
  for (let channel = 0; channel < channels; channel++) scales[channel] = scales[channel]! / 127 || 1;
  const stored = new Int8Array(values.length);
  for (let index = 0; index < values.length; index++)
    stored[index] = Math.round(values[index]! / scales[Math.floor(index / inner) % channels]!);
  const broadcast = shape.map((dim, index) => BigInt(index === at ? dim : 1));
  return {
    stored: create(TensorProtoSchema, { dims, dataType: INT8, rawData: bytesOf(stored) }),
    scale: create(TensorProtoSchema, { dims: broadcast, dataType: FLOAT, rawData: bytesOf(scales) }),
  };
}
