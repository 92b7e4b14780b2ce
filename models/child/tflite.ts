// SPDX-License-Identifier: Apache-2.0
/**
 * What is in a TensorFlow Lite file: its operators, its inputs and outputs, how many weights. Nothing here
 * runs or converts it, and the report says so: it never conforms.
 */
import type { Limits, NamedTensor, Report } from "../job.ts";
import { conform } from "./conform.ts";
import { FlatFile, type Table } from "./flat-file.ts";
import { rule } from "./refusal.ts";

const LISTED_MAX = 256;
const DIMS_MAX = 16;
const VERSION = 3;
const CUSTOM = 32;
/** By number, as far as convolutional networks use them. */
const OPERATORS =
  "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE".split(
    " ",
  );
const TYPES = [
  ...["float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8"],
  ...["float64", "complex128", "uint64"],
];

export function readTflite(path: string, limits: Limits): Report {
  const model = new FlatFile(path).root();
  const codes = model.tables(1, limits.nodesMax).map(operatorName);
  const buffers = model.tables(4, limits.nodesMax);
  const graphs = model.tables(2, LISTED_MAX);
  const graph = graphs[0];
  const tensors = graph?.tables(0, limits.nodesMax) ?? [];
  const named = (list: readonly number[]): NamedTensor[] =>
    list.flatMap((at) => (tensors[at] === undefined ? [] : [namedTensor(tensors[at])]));
  const [Inputs, Outputs] = [1, 2].map((field) => named(graph?.ints(field, LISTED_MAX) ?? []));
  const Operators: Record<string, number> = {};
  for (const operator of graph?.tables(3, limits.nodesMax) ?? []) {
    const name = codes[operator.int(0)] ?? "unknown";
    Operators[name] = (Operators[name] ?? 0) + 1;
  }
  const { rules, classes } = conform(Inputs!, Outputs!, limits);
  const version = model.int(0);
  return {
    Conforms: false,
    Rules: [
      rule(
        "error",
        "format.tflite",
        "TensorFlow Lite is read here and neither run nor converted: it is kept as it is for a toolchain worker. Upload it as ONNX to run it here.",
      ),
      ...(version === VERSION
        ? []
        : [rule("error", "format.version", `Its schema has version ${version}, not 3.`)]),
      ...(graph === undefined ? [rule("error", "format.empty", "There is no graph in the file.")] : []),
      ...rules,
    ].slice(0, 200),
    ...{ Opset: null, IRVersion: null, Producer: model.text(3).slice(0, 200), Operators },
    ...{ Parameters: countWeights(tensors, buffers), Inputs: Inputs!, Outputs: Outputs!, Classes: classes },
    Repair: null,
  };
}

/** The old field holds what fits into a byte; later operators are in the new one. */
function operatorName(code: Table): string {
  const number = Math.max(code.byte(0), code.int(3));
  if (number === CUSTOM) return `custom ${code.text(1)}`.slice(0, 200);
  return OPERATORS[number] ?? `builtin ${number}`;
}

/** Sizes that are not fixed stand as -1 in the signature. */
function shapeOf(tensor: Table): number[] {
  const signature = tensor.ints(7, DIMS_MAX);
  return signature.length > 0 ? signature : tensor.ints(0, DIMS_MAX);
}

const namedTensor = (tensor: Table): NamedTensor => ({
  Name: tensor.text(3),
  DataType: TYPES[tensor.byte(1)] ?? `type ${tensor.byte(1)}`,
  Shape: shapeOf(tensor).map((size) => (size < 0 ? "" : size)),
});

/** A tensor whose bytes are in the file is a weight. */
function countWeights(tensors: readonly Table[], buffers: readonly Table[]): number {
  let count = 0;
  for (const tensor of tensors) {
    if ((buffers[tensor.int(2)]?.length(0) ?? 0) === 0) continue;
    count += tensor.ints(0, DIMS_MAX).reduce((all, size) => all * Math.max(0, size), 1);
  }
  return Math.min(count, Number.MAX_SAFE_INTEGER);
}
