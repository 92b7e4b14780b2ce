// SPDX-License-Identifier: Apache-2.0
/** What is made of a model: conversions, their artefacts, and workers from outside that make some of them. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { WAIT } from "../waiting.ts";
import {
  Artifact,
  Conversion,
  ConversionOptions,
  Instant,
  OfItem,
  Reply,
  Target,
  UPLOAD_MAX,
  Uuid,
} from "./vocabulary.ts";

const reads = { surface: "models", access: "bearer", scope: "models:read", tag: "Conversions" } as const;
const writes = { ...reads, scope: "models:write" } as const;

export const createConversions = operation({
  ...writes,
  id: "models.conversions.create",
  method: "POST",
  path: "/cpt/function/:uuid/conversions",
  summary: "Convert the newest version, repaired first if options say how",
  params: OfItem,
  body: Type.Object(
    {
      Targets: Type.Array(Target, { minItems: 1, maxItems: 32 }),
      Options: Type.Optional(ConversionOptions),
    },
    { additionalProperties: false },
  ),
  responses: { 201: { description: "One job for each target", schema: Type.Array(Conversion) } },
  errors: [...TOKEN_ERRORS, "function.not-found", "models.not-owner", "function.not-read"],
  idempotent: true,
  example: { body: { Targets: ["application/x-onnx"], Options: { level: "extended" } } },
});

export const listConversions = operation({
  ...reads,
  id: "models.conversions.list",
  method: "GET",
  path: "/cpt/function/:uuid/conversions",
  summary: "Conversions of a model, newest first",
  params: OfItem,
  query: Type.Object(Paging),
  responses: { 200: { description: "Jobs", schema: Type.Array(Conversion) } },
  errors: [...TOKEN_ERRORS, "function.not-found"],
});

export const getConversion = operation({
  ...reads,
  id: "models.conversions.get",
  method: "GET",
  path: "/cpt/conversion/:uuid",
  summary: "How far a conversion is",
  params: OfItem,
  query: Type.Object(WAIT),
  responses: { 200: { description: "The job", schema: Conversion }, 304: { description: "As it was" } },
  errors: [...TOKEN_ERRORS, "conversion.not-found"],
});

export const cancelConversion = operation({
  ...writes,
  id: "models.conversions.cancel",
  method: "DELETE",
  path: "/cpt/conversion/:uuid",
  summary: "Cancel a conversion",
  params: OfItem,
  responses: { 200: { description: "It is cancelled", schema: Reply } },
  errors: [...TOKEN_ERRORS, "conversion.not-found", "models.not-owner", "conversion.over"],
});

export const retryConversion = operation({
  ...writes,
  id: "models.conversions.retry",
  method: "POST",
  path: "/cpt/conversion/:uuid/retry",
  summary: "Try a conversion again that failed or was cancelled",
  params: OfItem,
  responses: { 200: { description: "The job", schema: Conversion } },
  errors: [...TOKEN_ERRORS, "conversion.not-found", "models.not-owner", "conversion.under-way"],
});

export const conversionEvents = operation({
  ...reads,
  id: "models.conversions.events",
  method: "GET",
  path: "/cpt/conversion/:uuid/events",
  summary: "Progress as it happens (server-sent events)",
  params: OfItem,
  responses: { 200: { description: "Events", mediaType: "text/event-stream" } },
  errors: [...TOKEN_ERRORS, "conversion.not-found"],
});

export const leaseConversion = operation({
  ...writes,
  id: "models.conversions.lease",
  method: "POST",
  path: "/cpt/conversions/lease",
  tag: "Toolchain workers",
  summary: "Take the oldest job of one of these targets",
  description:
    "For compilers that run elsewhere. Whoever has the lease reads Source, and puts the result; when the lease ends without one, the job can be taken again.",
  body: Type.Object(
    { Targets: Type.Array(Target, { minItems: 1, maxItems: 32 }) },
    { additionalProperties: false },
  ),
  responses: {
    200: {
      description: "The job",
      schema: Type.Object({
        Conversion,
        Source: Type.Object({
          URL: Type.String(),
          SHA256: Type.String(),
          Size: Type.Integer(),
          MediaType: Type.String(),
        }),
        Lease: Type.String({ description: "For the header X-Lease" }),
        ExpiresAt: Instant,
      }),
    },
    204: { description: "There is none now" },
  },
  errors: TOKEN_ERRORS,
});

export const putArtifact = operation({
  ...writes,
  id: "models.conversions.artifact",
  method: "PUT",
  path: "/cpt/conversion/:uuid/artifact",
  tag: "Toolchain workers",
  summary: "Hand in what a leased job made",
  params: OfItem,
  bodyKind: "bytes",
  bodyLimit: UPLOAD_MAX,
  responses: { 201: { description: "The artefact", schema: Artifact } },
  errors: [...TOKEN_ERRORS, "conversion.not-found", "conversion.lease", "request.too-large", "models.full"],
});

const ofArtifacts = { ...reads, tag: "Artefacts" } as const;

export const listArtifacts = operation({
  ...ofArtifacts,
  id: "models.artifacts.list",
  method: "GET",
  path: "/cpt/function/:uuid/artifacts",
  summary: "Artefacts of the newest version",
  params: OfItem,
  query: Type.Object({ Version: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })) }),
  responses: { 200: { description: "Artefacts", schema: Type.Array(Artifact) } },
  errors: [...TOKEN_ERRORS, "function.not-found"],
});

const content = {
  ...ofArtifacts,
  path: "/cpt/artifact/:uuid/content",
  params: Type.Object({ uuid: Uuid }),
  errors: [...TOKEN_ERRORS, "function.artifact-not-found", "blob.range"],
} as const;
export const getArtifact = operation({
  ...content,
  id: "models.artifacts.content",
  method: "GET",
  summary: "The bytes of an artefact, or a range of them",
  responses: {
    200: { description: "The bytes", mediaType: "application/octet-stream" },
    206: { description: "The bytes of the range", mediaType: "application/octet-stream" },
  },
});
export const headArtifact = operation({
  ...content,
  id: "models.artifacts.head",
  method: "HEAD",
  summary: "Whether an artefact is there, and its size",
  responses: { 200: { description: "It is there" } },
});

export const listKeys = operation({
  id: "models.keys",
  surface: "models",
  tag: "Artefacts",
  method: "GET",
  path: "/cpt/keys",
  access: "public",
  perAddressRpm: 600,
  summary: "Keys that sign artefacts",
  description:
    "A signature is Ed25519 over the UTF-8 bytes of six lines, each ended by a line feed: `casemate-artifact/1`, SHA256, Size, MediaType, the model's UUID, the version.",
  responses: {
    200: {
      description: "As JWK",
      schema: Type.Object({
        keys: Type.Array(
          Type.Object({ kty: Type.String(), crv: Type.String(), kid: Type.String(), x: Type.String() }),
        ),
      }),
    },
  },
  errors: ["limits.rate"],
});
