// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes of a stranger's to a model that has a graph. Any bytes may parse as a message that says nothing,
 * so what was read is asked for what every model has.
 */
import { readFileSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema, type TypeProto, type ValueInfoProto } from "onnx-buf";
import type { NamedTensor } from "../job.ts";
import { refuse } from "./refusal.ts";

export function readModel(path: string): ModelProto {
  const bytes = readFileSync(path);
  if (bytes.length === 0) return refuse("format.empty", "The file is empty.");
  let model: ModelProto;
  try {
    model = fromBinary(ModelProtoSchema, bytes);
  } catch (error) {
    if (error instanceof Error && /call stack|recursion depth/.test(error.message))
      return refuse("onnx.nesting", "The file is nested deeper than any model is.");
    return refuse(
      "format.unreadable",
      "The file is no ONNX model: its bytes are not those of one, or not all of them.",
    );
  }
  if (model.graph === undefined)
    return refuse("onnx.no-graph", "The file has no graph, so it is no ONNX model.");
  return model;
}

/** As KServe and the device's runtime write them. */
const TYPES: Record<number, string> = {
  ...{ 1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string" },
  ...{ 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16" },
};

export function namedTensor({ name, type }: ValueInfoProto): NamedTensor {
  const value: TypeProto["value"] | undefined = type?.value;
  if (value?.case !== "tensorType") return { Name: name, DataType: value?.case ?? "none", Shape: [] };
  const Shape = (value.value.shape?.dim ?? [])
    .slice(0, 16)
    .map(({ value: dim }) =>
      dim.case === "dimValue" && dim.value > 0n && dim.value <= Number.MAX_SAFE_INTEGER
        ? Number(dim.value)
        : dim.case === "dimParam"
          ? dim.value.slice(0, 200)
          : "",
    );
  return { Name: name, DataType: TYPES[value.value.elemType] ?? `type ${value.value.elemType}`, Shape };
}

/** Before IR version 4 weights stand among the inputs too. */
export function inputsOf(model: ModelProto): ValueInfoProto[] {
  const weights = new Set(model.graph!.initializer.map(({ name }) => name));
  return model.graph!.input.filter(({ name }) => !weights.has(name));
}
