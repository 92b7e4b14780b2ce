// SPDX-License-Identifier: Apache-2.0
/** Using models: what is possible here, one inference, how fast they are, which a site may run. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { Instant, ModelFunction, OfItem, Uuid } from "./vocabulary.ts";

const reads = { surface: "models", access: "bearer", scope: "models:read", tag: "Use" } as const;
const INFER_MAX = 16 * 1024 * 1024;
const strings = Type.Array(Type.String());

export const configuration = operation({
  ...reads,
  id: "models.configuration",
  method: "GET",
  path: "/cpt/configuration",
  summary: "What is possible here",
  responses: {
    200: {
      description: "Options and limits",
      schema: Type.Object({
        Targets: strings,
        ExternalTargets: strings,
        MaxUploadBytes: Type.Integer(),
        MaxOpset: Type.Integer(),
        Postprocessors: strings,
        ResizeMethods: strings,
        ChainModes: strings,
      }),
    },
  },
  errors: TOKEN_ERRORS,
});

const Tensor = Type.Object({
  name: Type.String(),
  shape: Type.Array(Type.Integer()),
  datatype: Type.String(),
  data: Type.Array(Type.Unknown()),
});

export const infer = operation({
  ...reads,
  id: "models.infer",
  method: "POST",
  path: "/cpt/function/:uuid/infer",
  summary: "Run a model once",
  description:
    "JSON as of KServe's protocol 2 (`inputs`), or the bytes of a picture (image/png, image/jpeg, image/webp), to which InputDriverDetails are applied.",
  params: OfItem,
  query: Type.Object({
    Threshold: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
    ResizeMethod: Type.Optional(Type.Enum(["Letterbox", "Stretch", "Crop"])),
  }),
  bodyKind: "bytes",
  bodyMediaType: "application/json",
  bodyLimit: INFER_MAX,
  responses: {
    200: {
      description: "Outputs, and what they mean",
      schema: Type.Object({
        model_name: Type.String(),
        model_version: Type.String(),
        outputs: Type.Array(Tensor),
        Detections: Type.Array(
          Type.Object({ Class: Type.String(), Score: Type.Number(), Box: Type.Array(Type.Number()) }),
        ),
        TimingMs: Type.Record(Type.String(), Type.Number()),
      }),
    },
  },
  errors: [
    ...TOKEN_ERRORS,
    "function.not-found",
    "function.not-ready",
    "models.refused",
    "models.unconfined",
  ],
  storesNothing: true,
});

const Measured = {
  Hardware: Type.Optional(Type.String({ maxLength: 200 })),
  Runtime: Type.Optional(Type.String({ maxLength: 200 })),
  BatchSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 1024 })),
};
const number = Type.Number({ minimum: 0 });
const Results = { P50: number, P95: number, P99: number, PeakRSS: number, LoadMs: number, Samples: number };
const Benchmark = Type.Object({
  UUID: Uuid,
  Artifact: Type.Union([Uuid, Type.Null()]),
  Hardware: Type.String(),
  Runtime: Type.String(),
  BatchSize: Type.Integer(),
  ...Results,
  CreatedBy: Type.String(),
  CreatedAt: Instant,
});

export const listBenchmarks = operation({
  ...reads,
  id: "models.benchmarks.list",
  method: "GET",
  path: "/cpt/function/:uuid/benchmarks",
  summary: "How fast a model was measured to be",
  params: OfItem,
  query: Type.Object(Paging),
  responses: { 200: { description: "Measurements", schema: Type.Array(Benchmark) } },
  errors: [...TOKEN_ERRORS, "function.not-found"],
});

export const createBenchmark = operation({
  ...reads,
  scope: "models:write",
  id: "models.benchmarks.create",
  method: "POST",
  path: "/cpt/function/:uuid/benchmarks",
  summary: "Measure a model here, or keep what was measured elsewhere",
  description: "With results (P50 and the others) they are kept as they are; without, it is measured here.",
  params: OfItem,
  body: Type.Object(
    {
      Artifact: Type.Optional(Uuid),
      ...Measured,
      ...Object.fromEntries(Object.entries(Results).map(([name, schema]) => [name, Type.Optional(schema)])),
    },
    { additionalProperties: false },
  ),
  responses: { 201: { description: "The measurement", schema: Benchmark } },
  errors: [
    ...TOKEN_ERRORS,
    ...([
      "function.not-found",
      "function.not-ready",
      "models.not-owner",
      "models.refused",
      "models.unconfined",
    ] as const),
  ],
  idempotent: true,
});

const OfSite = { siteId: Uuid };
const available = {
  ...reads,
  summary: "Models that a site may put into a pipeline",
  description:
    "Seen by the site's owner, and made into something that a server of the site runs which is there now.",
  query: Type.Object(Paging),
  responses: { 200: { description: "Models", schema: Type.Array(ModelFunction) } },
  errors: [...TOKEN_ERRORS, "site.not-found"],
} as const;
export const listAvailable = operation({
  ...available,
  id: "models.available",
  method: "GET",
  path: "/cpt/rpc/pipelines/available/:siteId",
  params: Type.Object(OfSite),
});
export const listAvailableOf = operation({
  ...available,
  id: "models.available.customization",
  method: "GET",
  path: "/cpt/rpc/pipelines/available/:siteId/:customization",
  params: Type.Object({ ...OfSite, customization: Type.String({ maxLength: 100 }) }),
});
