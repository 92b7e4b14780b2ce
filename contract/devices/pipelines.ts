// SPDX-License-Identifier: Apache-2.0
/** Pipelines: which models look at a device's pictures, and which look at what those found. */
import { type Static, type TSchema, Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { Instant, Name, OfItem, Uuid, Word } from "./vocabulary.ts";

export const RESIZE_METHODS = ["Letterbox", "Stretch", "Crop"] as const;
export const CHAIN_MODES = ["Direct", "Conditional", "FeatureExtraction"] as const;
/** A pipeline within one within …; deeper is refused. */
export const DEPTH_MAX = 4;
export const PIPELINES_MAX = 16;

const Point = Type.Tuple([Type.Number({ minimum: 0, maximum: 1 }), Type.Number({ minimum: 0, maximum: 1 })]);
const step = {
  UUID: Type.Optional(Uuid),
  Name: Type.Optional(Name),
  modelUUID: Uuid,
  modelVersion: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      description: "That of the alias `default` when it is saved",
    }),
  ),
  modelNMS: Type.Optional(Type.Number({ minimum: 0, maximum: 1, description: "Of models that take one" })),
  resizingMethod: Type.Optional(Type.Enum([...RESIZE_METHODS])),
  Preprocessor: Type.Optional(Word),
  Postprocessor: Type.Optional(Word),
  PostprocessorSettings: Type.Optional(
    Type.Record(
      Type.String({ maxLength: 100 }),
      Type.Union([Type.String({ maxLength: 200 }), Type.Number(), Type.Boolean()]),
      {
        maxProperties: 50,
      },
    ),
  ),
  Mask: Type.Optional(
    Type.Array(Type.Array(Point, { minItems: 3, maxItems: 200 }), {
      maxItems: 20,
      description: "Polygons within which what is found counts, in shares of width and height",
    }),
  ),
  Classes: Type.Optional(
    Type.Array(Type.String({ maxLength: 1000 }), {
      maxItems: 1000,
      description: "Those that are shown; all, when absent",
    }),
  ),
};
const chained = {
  Mode: Type.Enum([...CHAIN_MODES]),
  Field: Type.Optional(
    Type.String({ maxLength: 1000, description: "Conditional: the alarm that has to be true" }),
  ),
  Label: Type.Optional(
    Type.String({ maxLength: 1000, description: "FeatureExtraction: the class whose boxes are cut out" }),
  ),
};
const closed = { additionalProperties: false } as const;

/** A document cannot say "within itself" in all the tools that read ours, so it is written out to its depth. */
function nested(depth: number): TSchema {
  const members = { ...chained, ...step };
  return Type.Object(
    depth === 0
      ? members
      : { ...members, chains: Type.Optional(Type.Array(nested(depth - 1), { maxItems: 16 })) },
    closed,
  );
}
export const PipelineGiven = Type.Object(
  { ...step, chains: Type.Optional(Type.Array(nested(DEPTH_MAX - 2), { maxItems: 16 })) },
  closed,
);

type Step = Static<ReturnType<typeof Type.Object<typeof step>>>;
type Chained = Static<ReturnType<typeof Type.Object<typeof chained>>>;
export interface GivenPipeline extends Step {
  chains?: GivenChain[];
}
export interface GivenChain extends GivenPipeline, Chained {}

/** As it is kept: with its ids, and the version that it is about. */
export const Pipeline = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  modelUUID: Uuid,
  modelVersion: Type.Integer(),
  resizingMethod: Type.Enum([...RESIZE_METHODS]),
  Preprocessor: Type.String(),
  Postprocessor: Type.String(),
  PostprocessorSettings: Type.Record(Type.String(), Type.Unknown()),
  chains: Type.Array(Type.Unknown({ description: "Mode, Field, Label, and what a pipeline has" })),
  modelNMS: Type.Optional(Type.Number()),
  Mask: step.Mask,
  Classes: step.Classes,
});
const Pipelines = Type.Array(Pipeline);

const reads = { surface: "devices", access: "bearer", scope: "devices:read", tag: "Pipelines" } as const;
const writes = { ...reads, scope: "devices:write" } as const;
const found = [...TOKEN_ERRORS, "device.not-found"] as const;
const saves = [...found, "pipeline.refused", "request.precondition"] as const;
const given = Type.Array(PipelineGiven, { maxItems: PIPELINES_MAX });
const BODY_MAX = 2 * 1024 * 1024;
const saved = {
  200: { description: "All pipelines of the device, as they are now; ETag numbers them", schema: Pipelines },
};

export const getPipelines = operation({
  ...reads,
  id: "devices.pipelines.get",
  method: "GET",
  path: "/dev/device/:id/pipelines",
  summary: "Pipelines of a device",
  params: OfItem,
  responses: { ...saved, 304: { description: "As they were" } },
  errors: found,
});

export const putPipelines = operation({
  ...writes,
  id: "devices.pipelines.put",
  method: "PUT",
  path: "/dev/device/:id/pipelines",
  summary: "Replace the pipelines of a device",
  description: "All that is wrong is said at once, each with where it stands. Nothing is saved then.",
  params: OfItem,
  bodyLimit: BODY_MAX,
  body: given,
  responses: saved,
  errors: saves,
});

export const addPipelines = operation({
  ...writes,
  id: "devices.pipelines.add",
  method: "POST",
  path: "/dev/device/:id/pipelines",
  summary: "Add pipelines to those of a device",
  params: OfItem,
  bodyLimit: BODY_MAX,
  body: Type.Union([PipelineGiven, given]),
  responses: saved,
  errors: saves,
  idempotent: true,
});

export const removePipeline = operation({
  ...writes,
  id: "devices.pipelines.remove",
  method: "DELETE",
  path: "/dev/device/:id/pipeline/:pipeline",
  summary: "Remove one pipeline with what is chained to it",
  params: Type.Object({ id: Uuid, pipeline: Uuid }),
  responses: saved,
  errors: [...saves, "pipeline.not-found"],
});

export const addFunctions = operation({
  ...writes,
  id: "devices.pipelines.functions",
  method: "POST",
  path: "/dev/device/:id/functions",
  summary: "Add a pipeline of one model each",
  params: OfItem,
  body: Type.Array(Type.Object({ FunctionUUID: Uuid }, closed), { minItems: 1, maxItems: PIPELINES_MAX }),
  responses: saved,
  errors: saves,
  idempotent: true,
});

const Outcome = Type.Object({
  Applied: Type.Array(Uuid),
  Rejected: Type.Array(
    Type.Object({ Device: Type.String(), Reason: Type.String(), Issues: Type.Array(Type.Unknown()) }),
  ),
});
const DryRun = Type.Object({
  dryRun: Type.Optional(Type.Enum(["0", "1"], { description: "1: nothing is changed" })),
});

export const clonePipelines = operation({
  ...writes,
  id: "devices.pipelines.clone",
  method: "POST",
  path: "/dev/device/:id/pipelines/clone",
  summary: "Give other devices of the site this device's pipelines in place of theirs",
  params: OfItem,
  query: DryRun,
  body: Type.Object(
    { Devices: Type.Array(Type.String({ maxLength: 40 }), { minItems: 1, maxItems: 1000 }) },
    closed,
  ),
  responses: { 200: { description: "Which took them", schema: Outcome } },
  errors: [...found, "site.offline", "device.none-applicable"],
});

export const assignPipelines = operation({
  ...writes,
  id: "devices.pipelines.assign",
  method: "PUT",
  path: "/dev/system/:id/devices/pipelines",
  summary: "Replace what the listed devices of a site run",
  description:
    "Devices by UUID or by NxID, with or without braces. Every pipeline and every model of `Functions` is given to each; what they had is gone. A device that cannot take all of them keeps what it has.",
  params: OfItem,
  query: DryRun,
  bodyLimit: BODY_MAX,
  body: Type.Object(
    {
      Devices: Type.Array(Type.String({ maxLength: 40 }), { minItems: 1, maxItems: 1000 }),
      Functions: Type.Optional(Type.Array(Uuid, { maxItems: PIPELINES_MAX })),
      Pipelines: Type.Optional(given),
    },
    closed,
  ),
  responses: { 200: { description: "Which took them", schema: Outcome } },
  errors: [...TOKEN_ERRORS, "site.not-found", "site.offline", "device.none-applicable"],
});

export const listHistory = operation({
  ...reads,
  id: "devices.pipelines.history",
  method: "GET",
  path: "/dev/device/:id/pipelines/history",
  summary: "What a device ran before, newest first",
  params: OfItem,
  query: Type.Object(Paging),
  responses: {
    200: {
      description: "Revisions",
      schema: Type.Array(
        Type.Object({
          Version: Type.Integer(),
          CreatedAt: Instant,
          CreatedBy: Type.String(),
          Note: Type.String(),
          Pipelines,
        }),
      ),
    },
  },
  errors: found,
});

export const rollBack = operation({
  ...writes,
  id: "devices.pipelines.rollback",
  method: "POST",
  path: "/dev/device/:id/pipelines/rollback",
  summary: "Save an earlier revision again, as a new one",
  params: OfItem,
  body: Type.Object({ Version: Type.Integer({ minimum: 0, maximum: 2_147_483_647 }) }, closed),
  responses: saved,
  errors: [...saves, "pipeline.not-found"],
});
