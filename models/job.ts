// SPDX-License-Identifier: Apache-2.0
/**
 * What a confined child is asked and what it says. The request comes on its standard input, lines of
 * JSON go out on its standard output, the last of them an answer or a refusal. Whoever reads them takes
 * them for a stranger's: the child has read a stranger's file.
 */
import { type Static, type TSchema, Type } from "typebox";

const closed = <P extends Record<string, TSchema>>(properties: P) =>
  Type.Object(properties, { additionalProperties: false });
const text = (maxLength: number) => Type.String({ maxLength });
const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

export const FORMATS = ["onnx", "ort", "tflite", "zip"] as const;
export type Format = (typeof FORMATS)[number];

export const TARGETS = {
  onnx: "application/x-onnx",
  float16: "application/x-onnx; type=float16; scheme=weight-only",
  int8: "application/x-onnx; type=int8; scheme=weight-only",
  ort: "application/x-ort",
} as const;
export type TargetName = keyof typeof TARGETS;

export interface Limits {
  opsetMax: number;
  irVersionMax: number;
  /** Elements of one input or one weight. */
  elementsMax: number;
  nodesMax: number;
  threads: number;
}

export interface Repair {
  renames: Record<string, string>;
  /** By the name of a dimension, or `input[index]`. */
  freeze: Record<string, number>;
}

export interface ImageOptions {
  mean: number[];
  scale: number[];
  /** 0 = NCHW, 1 = NHWC. */
  order: number;
  resize: "Letterbox" | "Stretch" | "Crop";
  threshold: number;
}

export type Job =
  | { op: "inspect"; format: Format; limits: Limits; repair: Repair | null }
  | {
      op: "convert";
      format: Format;
      limits: Limits;
      repair: Repair | null;
      target: TargetName;
      level: "basic" | "extended";
      seed: number;
    }
  | { op: "infer"; limits: Limits; tensors: GivenTensor[] | null; image: ImageOptions | null }
  | { op: "benchmark"; limits: Limits; runs: number; seed: number };

export const GivenTensor = closed({
  name: text(65_536),
  shape: Type.Array(count, { maxItems: 8 }),
  datatype: text(16),
  data: Type.Array(Type.Unknown()),
});
export type GivenTensor = Static<typeof GivenTensor>;

export const Rule = closed({
  Id: Type.String({ pattern: "^[a-z]+\\.[a-z0-9-]+$", maxLength: 40 }),
  Level: Type.Enum(["error", "warning", "info"]),
  Message: text(1000),
});
export type Rule = Static<typeof Rule>;

export const NamedTensor = closed({
  Name: text(65_536),
  DataType: text(20),
  /** A number where it is fixed, a name or an empty text where it is not. */
  Shape: Type.Array(Type.Union([count, text(200)]), { maxItems: 16 }),
});
export type NamedTensor = Static<typeof NamedTensor>;

export const Report = closed({
  Conforms: Type.Boolean(),
  Rules: Type.Array(Rule, { maxItems: 200 }),
  Opset: Type.Union([count, Type.Null()]),
  IRVersion: Type.Union([count, Type.Null()]),
  Producer: text(200),
  Operators: Type.Record(text(200), count),
  Parameters: count,
  Inputs: Type.Array(NamedTensor, { maxItems: 256 }),
  Outputs: Type.Array(NamedTensor, { maxItems: 256 }),
  Classes: Type.Array(text(1000), { maxItems: 100_000 }),
  /** What would make it conform; null where only its author can. A null value is one to be chosen. */
  Repair: Type.Union([
    Type.Null(),
    closed({
      Renames: Type.Record(text(65_536), text(65_536)),
      Freeze: Type.Record(text(65_600), Type.Union([count, Type.Null()])),
    }),
  ]),
});
export type Report = Static<typeof Report>;

/** The most that any output differed from the original's, over seeded inputs. */
export const Deviation = closed({
  MaxAbsolute: Type.Union([Type.Number(), Type.Null()]),
  MaxRelative: Type.Union([Type.Number(), Type.Null()]),
  /** Of outputs that are no floats: values that differ. */
  Mismatches: count,
  Samples: count,
});
export type Deviation = Static<typeof Deviation>;

export const Detection = closed({
  Class: text(1000),
  Score: Type.Number(),
  Box: Type.Array(Type.Number(), { minItems: 0, maxItems: 4 }),
});
export type Detection = Static<typeof Detection>;

const Given = closed({
  name: text(65_536),
  shape: Type.Array(count, { maxItems: 16 }),
  datatype: text(16),
  data: Type.Array(Type.Union([Type.Number(), Type.Boolean(), Type.String(), Type.Null()])),
});

export const Answer = Type.Union([
  closed({ op: Type.Literal("inspect"), report: Report, chip: Type.Union([text(40), Type.Null()]) }),
  closed({ op: Type.Literal("convert"), report: Report, deviation: Deviation, convertMs: Type.Number() }),
  closed({
    op: Type.Literal("infer"),
    outputs: Type.Array(Given, { maxItems: 256 }),
    detections: Type.Array(Detection, { maxItems: 10_000 }),
    timing: closed({ Load: Type.Number(), Prepare: Type.Number(), Run: Type.Number() }),
  }),
  closed({
    op: Type.Literal("benchmark"),
    P50: Type.Number(),
    P95: Type.Number(),
    P99: Type.Number(),
    LoadMs: Type.Number(),
    PeakRSS: count,
    Samples: count,
  }),
]);
export type Answer = Static<typeof Answer>;

/** One line of the child's. */
export const Line = Type.Union([
  closed({ progress: Type.Number({ minimum: 0, maximum: 1 }), log: text(500) }),
  closed({ answer: Answer }),
  /** It cannot go on; `rules` says why, in the words of a report. */
  closed({ refusal: closed({ rules: Type.Array(Rule, { minItems: 1, maxItems: 200 }) }) }),
]);
export type Line = Static<typeof Line>;
