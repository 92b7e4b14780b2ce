// SPDX-License-Identifier: Apache-2.0
/** What a workload can be made of: tiers and artifacts. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Empty, Instant, Tier, Uuid } from "./vocabulary.ts";

const base = { surface: "workloads", errors: ["identity.unauthorized"] } as const;
const tiers = { ...base, tag: "Tiers" } as const;

const TierAsk = {
  name: Type.String({ minLength: 1, maxLength: 64 }),
  cpus: Type.Integer({ minimum: 1, maximum: 1024 }),
  gpus: Type.Integer({ minimum: 0, maximum: 64 }),
  memoryMb: Type.Integer({ minimum: 512, maximum: 16_777_216 }),
  diskGb: Type.Integer({ minimum: 0, maximum: 1_048_576 }),
  cost: Type.Number({ minimum: 0, maximum: 1e6, description: "Credits a minute" }),
};

export const listTiers = operation({
  ...tiers,
  id: "workloads.tiers.list",
  method: "GET",
  path: "/api/v1/workload-tiers/list",
  access: "either",
  summary: "Sizes a workload can have, cheapest first",
  responses: { 200: { description: "Tiers", schema: Type.Array(Tier) } },
});

export const createTier = operation({
  ...tiers,
  id: "workloads.tiers.create",
  method: "POST",
  path: "/api/v1/workload-tiers/create",
  access: "admin",
  summary: "Offer a size",
  body: Type.Object(TierAsk),
  responses: { 201: { description: "The tier", schema: Tier } },
  errors: ["identity.unauthorized", "tier.exists"],
  example: { body: { name: "huge", cpus: 64, gpus: 0, memoryMb: 262144, diskGb: 1000, cost: 40 } },
});

export const updateTier = operation({
  ...tiers,
  id: "workloads.tiers.update",
  method: "PUT",
  path: "/api/v1/workload-tiers/update",
  access: "admin",
  summary: "Change a size; workloads that exist keep theirs and its price",
  body: Type.Object({ tierId: Uuid, ...TierAsk }),
  responses: { 200: { description: "The tier", schema: Tier } },
  errors: ["identity.unauthorized", "tier.not-found", "tier.exists"],
  example: {
    body: {
      tierId: "00000000-0000-4000-8000-000000000000",
      ...{ name: "huge", cpus: 64, gpus: 0, memoryMb: 262144, diskGb: 1000, cost: 40 },
    },
  },
});

export const deleteTier = operation({
  ...tiers,
  id: "workloads.tiers.delete",
  method: "POST",
  path: "/api/v1/workload-tiers/delete",
  access: "admin",
  summary: "Offer a size no more",
  body: Type.Object({ tierId: Uuid }),
  responses: { 200: { description: "Gone", schema: Empty } },
  errors: ["identity.unauthorized", "tier.not-found"],
  example: { body: { tierId: "00000000-0000-4000-8000-000000000000" } },
});

const artifacts = { ...base, tag: "Artifacts" } as const;
const GuestImage = Type.Object(
  {
    name: Type.String(),
    sha256: Type.String({ description: "Of its metadata, hex: what approvals of machines name" }),
    sizeBytes: Type.Integer({ description: "Of its files together" }),
  },
  { description: "What workloads of this version run on in a virtual machine; null: it is not built here" },
);
const Artifact = Type.Object({
  version: Type.String(),
  builtAt: Instant,
  image: Type.Union([GuestImage, Type.Null()]),
});
const Version = Type.Object({ version: Type.String({ minLength: 1, maxLength: 64 }) });

export const listArtifacts = operation({
  ...artifacts,
  id: "workloads.artifacts.list",
  method: "GET",
  path: "/api/v1/artifacts/list",
  access: "either",
  summary: "Versions of what workloads run on, newest first",
  responses: { 200: { description: "Artifacts", schema: Type.Array(Artifact) } },
});

export const enableArtifact = operation({
  ...artifacts,
  id: "workloads.artifacts.enable",
  method: "POST",
  path: "/api/v1/artifacts/enable",
  access: "admin",
  summary:
    "Offer a version that a host has; its guest image, if it is built, is read and every file held against its hash",
  body: Version,
  responses: { 200: { description: "The artifact", schema: Artifact } },
  errors: ["identity.unauthorized", "artifact.not-semver", "artifact.not-found", "artifact.image-altered"],
  example: { body: { version: "9.9.9" } },
});

export const disableArtifact = operation({
  ...artifacts,
  id: "workloads.artifacts.disable",
  method: "POST",
  path: "/api/v1/artifacts/disable",
  access: "admin",
  summary: "Offer a version no more; workloads that exist keep it",
  body: Version,
  responses: { 200: { description: "Gone", schema: Empty } },
  errors: ["identity.unauthorized", "artifact.not-semver", "artifact.not-found"],
  example: { body: { version: "9.9.9" } },
});
