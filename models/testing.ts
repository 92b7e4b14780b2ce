// SPDX-License-Identifier: Apache-2.0
/** Small models for tests, built here so that none is committed: a detector that conforms, and what breaks it. */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import { generator } from "./child/run.ts";

const FLOAT = 1;
const SIDE = 32;
export const BOXES = "bboxes-format:xyxysc;0:Red thing;1:Green;2:Blue";

export function floats(name: string, dims: number[], values: ArrayLike<number>): TensorProto {
  const rawData = new Uint8Array(Float32Array.from(values).buffer);
  return create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: FLOAT, rawData });
}

type AttributeValue = number[] | number;
const attribute = ([name, value]: [string, AttributeValue]): AttributeProto =>
  Array.isArray(value)
    ? create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INTS, ints: value.map(BigInt) })
    : create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INT, i: BigInt(value) });

/** A graph or a tensor that a node carries. */
export const carried = (name: string, what: { g: GraphProto } | { t: TensorProto }): AttributeProto => {
  const type = "g" in what ? AttributeProto_AttributeType.GRAPH : AttributeProto_AttributeType.TENSOR;
  return create(AttributeProtoSchema, { name, type, ...what });
};

export const node = (
  opType: string,
  input: string[],
  output: string[],
  attributes: Record<string, AttributeValue> = {},
  domain = "",
): NodeProto =>
  create(NodeProtoSchema, {
    ...{ opType, input, output, domain },
    attribute: Object.entries(attributes).map(attribute),
  });

/** A text is a dimension that is not fixed. */
export const value = (name: string, shape: (number | string)[], elemType = FLOAT): ValueInfoProto =>
  create(ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: "tensorType",
        value: {
          elemType,
          shape: {
            dim: shape.map((size) => ({
              value:
                typeof size === "number"
                  ? { case: "dimValue" as const, value: BigInt(size) }
                  : { case: "dimParam" as const, value: size },
            })),
          },
        },
      },
    },
  });

export interface Parts {
  input: ValueInfoProto[];
  output: ValueInfoProto[];
  node: NodeProto[];
  initializer: TensorProto[];
}

/**
 * Three boxes in fixed places; the score of each is the mean of what a small convolution makes of the
 * picture, so a different picture gets different scores.
 */
export function detectorParts(image = "image-", boxes = BOXES, batch: number | string = 1): Parts {
  const random = generator(7);
  const weights = Array.from({ length: 16 * 3 * 3 * 3 }, () => random() / 1000);
  const mix = Array.from({ length: 3 * 16 }, () => random() / 10);
  const places = [
    [1, 2, 10, 12, 0, 0],
    [4, 4, 20, 28, 0, 1],
    [16, 8, 30, 30, 0, 2],
  ];
  return {
    input: [value(image, [batch, 3, SIDE, SIDE])],
    output: [value(boxes, [3, 6])],
    initializer: [
      floats("w1", [16, 3, 3, 3], weights),
      floats("w2", [3, 16, 1, 1], mix),
      floats("select", [1, 6], [0, 0, 0, 0, 1, 0]),
      floats("places", [3, 6], places.flat()),
    ],
    node: [
      node("Conv", [image, "w1"], ["c1"], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
      node("Relu", ["c1"], ["r1"]),
      node("Conv", ["r1", "w2"], ["c2"], { kernel_shape: [1, 1] }),
      node("ReduceMean", ["c2"], ["mean"], { axes: [2, 3], keepdims: 0 }),
      node("Transpose", ["mean"], ["column"], { perm: [1, 0] }),
      node("Mul", ["column", "select"], ["scores"]),
      node("Add", ["scores", "places"], [boxes]),
    ],
  };
}

export function modelOf(parts: Parts, change: (model: ModelProto) => void = () => {}): Buffer {
  const model = create(ModelProtoSchema, {
    irVersion: 8n,
    ...{ producerName: "casemate-test", producerVersion: "1" },
    opsetImport: [{ domain: "", version: 13n }],
    graph: create(GraphProtoSchema, { name: "detector", ...parts }),
  });
  change(model);
  return Buffer.from(toBinary(ModelProtoSchema, model));
}

export const detector = (change?: (model: ModelProto) => void): Buffer => modelOf(detectorParts(), change);

/** Well with the small numbers that a conversion is tried with, and out of its bounds on any real picture. */
export function brittle(): Buffer {
  const parts = detectorParts();
  const [image] = parts.input;
  return modelOf({
    ...parts,
    initializer: [...parts.initializer, floats("table", [2, 1], [0, 0])],
    node: [
      node("ReduceMean", [image!.name], ["brightness"], { axes: [0, 1, 2, 3], keepdims: 0 }),
      node("Cast", ["brightness"], ["index"], { to: 7 }),
      node("Gather", ["table", "index"], ["nothing"], { axis: 0 }),
      ...parts.node.slice(0, -1),
      node("Add", ["scores", "nothing"], ["shifted"]),
      node("Add", ["shifted", "places"], [parts.output[0]!.name]),
    ],
  });
}

const INT64 = 7;
const BOOL = 9;

/** A detector that conforms, and first counts as far as it is told, one step after another. */
export function counting(steps: bigint): Buffer {
  const parts = detectorParts();
  const body = create(GraphProtoSchema, {
    name: "body",
    input: [value("i", [], INT64), value("go", [], BOOL), value("x", [1, 3, SIDE, SIDE])],
    output: [value("went", [], BOOL), value("y", [1, 3, SIDE, SIDE])],
    node: [node("Identity", ["go"], ["went"]), node("Identity", ["x"], ["y"])],
  });
  const loop = node("Loop", ["count", "yes", "image-"], ["looped"]);
  loop.attribute = [carried("body", { g: body })];
  parts.node[0]!.input[0] = "looped";
  parts.node.unshift(loop);
  parts.initializer.push(
    create(TensorProtoSchema, { name: "count", dataType: INT64, int64Data: [steps] }),
    create(TensorProtoSchema, { name: "yes", dataType: BOOL, int32Data: [1] }),
  );
  return modelOf(parts);
}
