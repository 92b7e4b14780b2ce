// SPDX-License-Identifier: Apache-2.0
/** Servers: one process at a site that runs models for the devices it has. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { Pipeline } from "./pipelines.ts";
import {
  Delta,
  Device,
  Facts,
  Health,
  Name,
  nullable,
  OfItem,
  Reply,
  Server,
  ServerSettings,
  Uuid,
  Word,
} from "./vocabulary.ts";

const reads = { surface: "devices", access: "bearer", scope: "devices:health", tag: "Servers" } as const;
const writes = { ...reads, scope: "devices:write" } as const;
const own = { surface: "devices", access: "server", tag: "Edge" } as const;
const found = [...TOKEN_ERRORS, "server.not-found"] as const;
const ownFound = ["identity.token", "server.not-found", "request.invalid", "limits.rate"] as const;

export const listServers = operation({
  ...reads,
  id: "devices.servers.list",
  method: "GET",
  path: "/dev/system/:id/servers",
  summary: "Servers of a site",
  params: OfItem,
  query: Type.Object(Paging),
  responses: { 200: { description: "Servers", schema: Type.Array(Server) } },
  errors: [...TOKEN_ERRORS, "site.not-found"],
});

export const getServer = operation({
  ...reads,
  id: "devices.servers.get",
  method: "GET",
  path: "/dev/server/:id",
  summary: "One server",
  params: OfItem,
  responses: { 200: { description: "The server", schema: Server }, 304: { description: "As it was" } },
  errors: found,
});

export const patchServer = operation({
  ...writes,
  id: "devices.servers.change",
  method: "PATCH",
  path: "/dev/server/:id",
  summary: "Rename a server, or say how its agent is to behave",
  description: "`Settings` takes the place of those that were.",
  params: OfItem,
  body: Type.Object(
    { Name: Type.Optional(Name), Settings: Type.Optional(ServerSettings) },
    { additionalProperties: false, minProperties: 1 },
  ),
  responses: { 200: { description: "The server", schema: Server } },
  errors: [...found, "request.precondition"],
});

export const deleteServer = operation({
  ...writes,
  id: "devices.servers.delete",
  method: "DELETE",
  path: "/dev/server/:id",
  summary: "Put a server out, with its devices; its key opens nothing any more",
  params: OfItem,
  responses: { 200: { description: "It is gone", schema: Reply } },
  errors: found,
});

export const selectRuntime = operation({
  ...writes,
  id: "devices.servers.runtime",
  method: "PUT",
  path: "/dev/server/:id/runtime",
  summary: "Say which of its runtimes a server is to use",
  params: OfItem,
  body: Type.Object({ Runtime: Word }, { additionalProperties: false }),
  responses: { 200: { description: "The server", schema: Server } },
  errors: [...found, "server.runtime", "request.precondition"],
});

const DesiredDevice = Type.Object({
  UUID: Uuid,
  NxID: Type.String(),
  Name: Type.String(),
  Enabled: Type.Boolean(),
  Active: Type.Boolean(),
  PipelinesVersion: Type.Integer(),
  Pipelines: Type.Array(Pipeline),
});

/** What has to be there to run it, with where it is got and how it is checked. */
const ManifestArtifact = Type.Object({
  UUID: Uuid,
  Function: Uuid,
  Version: Type.Integer(),
  Name: Type.String(),
  InputDriverDetails: Type.Record(Type.String(), Type.Unknown()),
  OutputDriverDetails: Type.Record(Type.String(), Type.Unknown()),
  MediaType: Type.String(),
  URL: Type.String(),
  SHA256: Type.String(),
  Size: Type.Integer(),
  Signature: Type.String({ description: "Ed25519, base64; over what GET /cpt/keys says" }),
  KeyID: Type.String(),
});

export const getState = operation({
  ...own,
  id: "devices.state.get",
  method: "GET",
  path: "/dev/server/:id/state",
  summary: "What a server is to do",
  description:
    "With If-None-Match it answers when something else is wanted, or 304 after `wait` seconds (0 to 30).",
  params: OfItem,
  query: Type.Object({ wait: Type.Optional(Type.Integer({ minimum: 0, maximum: 30 })) }),
  responses: {
    200: {
      description: "The wish",
      schema: Type.Object({
        Version: Type.Integer(),
        Desired: Type.Object({
          Runtime: nullable(Type.String()),
          Settings: ServerSettings,
          Devices: Type.Array(DesiredDevice),
        }),
        Manifest: Type.Object({ Artefacts: Type.Array(ManifestArtifact) }),
      }),
    },
    304: { description: "Nothing else is wanted" },
  },
  errors: ownFound,
});

export const getOwnArtifact = operation({
  ...own,
  id: "devices.own.artifact",
  method: "GET",
  path: "/dev/server/:id/artifact/:artifact/content",
  summary: "The bytes of an artefact that a server is to run",
  description: "With Range and If-Range, so that who was cut off goes on where they were.",
  params: Type.Object({ id: Uuid, artifact: Uuid }),
  responses: {
    200: { description: "All of it", mediaType: "application/octet-stream" },
    206: { description: "A part of it", mediaType: "application/octet-stream" },
    304: { description: "It is the same" },
  },
  errors: [...ownFound, "function.artifact-not-found", "blob.range"],
});

export const putReported = operation({
  ...own,
  id: "devices.state.report",
  method: "PUT",
  path: "/dev/server/:id/reported",
  summary: "What a server does",
  params: OfItem,
  body: Type.Object(
    {
      Version: Type.Integer({
        minimum: 0,
        maximum: Number.MAX_SAFE_INTEGER,
        description: "Taken over so far",
      }),
      Tried: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: Number.MAX_SAFE_INTEGER,
          description:
            "The wish that was tried last; larger than Version when its trial failed. Rollouts judge by it: a server that does not say it is waited for until the time is over",
        }),
      ),
      FailedDevices: Type.Optional(
        Type.Array(Uuid, {
          maxItems: 1000,
          description: "Those whose part of the tried wish did not run; absent: it cannot be said which",
        }),
      ),
      Health: Type.Optional(Health),
      Errors: Type.Optional(Type.Array(Type.String({ maxLength: 1000 }), { maxItems: 100 })),
      Reported: Type.Optional(
        Type.Record(Type.String({ maxLength: 100 }), Type.Unknown(), {
          maxProperties: 100,
          description:
            "What it runs, in its own words; compared are Runtime, Settings and Devices {UUID: PipelinesVersion}",
        }),
      ),
      Facts: Type.Optional(Type.Object(Facts, { additionalProperties: false })),
    },
    { additionalProperties: false },
  ),
  responses: {
    200: {
      description: "The number of what it is to do by now, and what of it was not reported",
      schema: Type.Object({ DesiredVersion: Type.Integer(), Delta }),
    },
  },
  errors: ownFound,
});

export const putOwnDevice = operation({
  ...own,
  id: "devices.own.put",
  method: "POST",
  path: "/dev/server/:id/devices",
  summary: "A server tells of a device it has; of one with the same serial it is told again",
  params: OfItem,
  body: Type.Object(
    {
      Name,
      Serial: Word,
      Type: Type.Optional(Word),
      Tags: Type.Optional(Type.Array(Word, { maxItems: 50 })),
    },
    { additionalProperties: false },
  ),
  responses: {
    200: { description: "It was known", schema: Device },
    201: { description: "It is new", schema: Device },
  },
  errors: [...ownFound, "device.too-many"],
});
