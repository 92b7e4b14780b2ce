// SPDX-License-Identifier: Apache-2.0
/**
 * Hosts as this surface's own agents and operators know them: registered and heard of over HTTP. What a
 * host runs is told and asked over the link; these operations are how it says where it is.
 */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Count, Empty, EventKind, Instant, Uuid } from "./vocabulary.ts";

const base = { surface: "workloads", errors: ["identity.unauthorized"] } as const;

const metal = { ...base, tag: "Metal instances", access: "admin" } as const;
const Room = Type.Object({ reserved: Count, total: Count });
const Metal = Type.Object({
  metalInstanceId: Uuid,
  hostname: Type.String(),
  agentVersion: Type.String(),
  publicIp: Type.String(),
  domain: Type.String(),
  memoryMb: Room,
  cpus: Room,
  diskSpaceGb: Room,
  gpus: Count,
  availableArtifactVersions: Type.Array(Type.String()),
  isolations: Type.Array(Type.String()),
  lastSeenAt: Instant,
  createdAt: Instant,
});

export const listMetal = operation({
  ...metal,
  id: "workloads.metal-instances.list",
  method: "GET",
  path: "/api/v1/metal-instances/list",
  summary: "Hosts",
  responses: { 200: { description: "Hosts, oldest first", schema: Type.Array(Metal) } },
});

export const getMetal = operation({
  ...metal,
  id: "workloads.metal-instances.get",
  method: "GET",
  path: "/api/v1/metal-instances/:id",
  summary: "One host",
  params: Type.Object({ id: Uuid }),
  responses: { 200: { description: "The host", schema: Metal } },
  errors: ["identity.unauthorized", "host.not-found"],
});

const Share = Type.Object(
  { reserved: Count, total: Count },
  { description: "`reserved` is kept from workloads" },
);

export const registerMetal = operation({
  ...metal,
  access: "hostOrAdmin",
  id: "workloads.metal-instances.register",
  method: "POST",
  path: "/api/v1/metal-instances/register",
  summary: "A host says where and how large it is",
  description:
    "Repeating it changes what changed. `token` is the host's own credential from now on. A host that is met over the link has the size that it says there.",
  body: Type.Object({
    metalInstanceId: Uuid,
    agentVersion: Type.String({ minLength: 1, maxLength: 64 }),
    publicIp: Type.String({
      minLength: 1,
      maxLength: 253,
      description: "Address, or a name of its own. Only the operator's key may change it",
    }),
    token: Type.String({ pattern: "^[A-Za-z0-9_-]{32,128}$" }),
    hostname: Type.String({ minLength: 1, maxLength: 253 }),
    memoryMb: Share,
    cpus: Share,
    diskSpaceGb: Share,
    gpus: Type.Integer({ minimum: 0, maximum: 64 }),
    gpuModel: Type.Optional(Type.String({ maxLength: 128 })),
  }),
  responses: { 200: { description: "The host", schema: Metal } },
  errors: ["identity.unauthorized", "host.not-found", "host.token-taken", "request.invalid"],
  example: {
    body: {
      metalInstanceId: "00000000-0000-4000-8000-000000000001",
      ...{ agentVersion: "0.1.0", publicIp: "192.0.2.10", hostname: "rack-2" },
      token: "replace-this-with-32-or-more-random-characters",
      ...{ memoryMb: { reserved: 2048, total: 65536 }, cpus: { reserved: 1, total: 16 } },
      ...{ diskSpaceGb: { reserved: 20, total: 500 }, gpus: 0 },
    },
  },
});

export const heartbeatMetal = operation({
  ...metal,
  access: "host",
  id: "workloads.metal-instances.heartbeat",
  method: "POST",
  path: "/api/v1/metal-instances/heartbeat",
  summary: "A host is there, and has these artifacts",
  body: Type.Object({
    metalInstanceId: Uuid,
    availableArtifactVersions: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 100 }),
  }),
  responses: {
    200: {
      description: "What it should have",
      schema: Type.Object({ metalInstanceId: Uuid, expectedArtifactVersions: Type.Array(Type.String()) }),
    },
  },
  errors: ["identity.unauthorized", "host.not-found"],
  example: {
    body: {
      metalInstanceId: "00000000-0000-4000-8000-000000000001",
      availableArtifactVersions: ["0.1.0"],
    },
  },
});

export const deleteMetal = operation({
  ...metal,
  id: "workloads.metal-instances.delete",
  method: "POST",
  path: "/api/v1/metal-instances/delete",
  summary: "Put a host out that has no workloads",
  body: Type.Object({ metalInstanceId: Uuid }),
  responses: { 200: { description: "Gone", schema: Empty } },
  errors: ["identity.unauthorized", "host.not-found", "host.has-workloads"],
  example: { body: { metalInstanceId: "00000000-0000-4000-8000-000000000001" } },
});

export const submitEvent = operation({
  ...base,
  tag: "Workloads",
  access: "host",
  id: "workloads.events.submit",
  method: "POST",
  path: "/api/v1/workload-events/submit",
  summary: "A host says what happened to one of its workloads",
  description: "The same `eventId` again changes nothing. Only for workloads that are on the calling host.",
  body: Type.Object({
    workloadId: Uuid,
    event: Type.Object({
      eventId: Type.Optional(Uuid),
      details: Type.Object({
        kind: EventKind,
        error: Type.Optional(Type.String({ maxLength: 1000 })),
        message: Type.Optional(Type.String({ maxLength: 1000 })),
      }),
    }),
  }),
  responses: { 200: { description: "Recorded", schema: Empty } },
  errors: ["identity.unauthorized", "workload.not-found", "request.invalid"],
  example: {
    body: {
      workloadId: "00000000-0000-4000-8000-000000000000",
      event: { details: { kind: "warning", message: "the disk is nearly full" } },
    },
  },
});
