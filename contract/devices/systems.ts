// SPDX-License-Identifier: Apache-2.0
/** Sites, which this API calls systems: one or more servers at one place. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { Name, OfItem, Reply, Status, System } from "./vocabulary.ts";

const reads = { surface: "devices", access: "bearer", scope: "devices:health", tag: "Systems" } as const;
const writes = { ...reads, scope: "devices:write" } as const;
const found = [...TOKEN_ERRORS, "site.not-found"] as const;

export const listSystems = operation({
  ...reads,
  id: "devices.systems.list",
  method: "GET",
  path: "/dev/systems",
  summary: "Sites",
  query: Type.Object({
    ...Paging,
    q: Type.Optional(Type.String({ maxLength: 200 })),
    Status: Type.Optional(Status),
  }),
  responses: { 200: { description: "Sites", schema: Type.Array(System) } },
  errors: TOKEN_ERRORS,
});

export const createSystem = operation({
  ...writes,
  id: "devices.systems.create",
  method: "POST",
  path: "/dev/systems",
  summary: "Add a site",
  body: Type.Object({ Name }, { additionalProperties: false }),
  responses: { 201: { description: "The site", schema: System } },
  errors: TOKEN_ERRORS,
  idempotent: true,
  example: { body: { Name: "Harbour" } },
});

export const getSystem = operation({
  ...reads,
  id: "devices.systems.get",
  method: "GET",
  path: "/dev/system/:id",
  summary: "One site",
  params: OfItem,
  responses: { 200: { description: "The site", schema: System }, 304: { description: "As it was" } },
  errors: found,
});

export const patchSystem = operation({
  ...writes,
  id: "devices.systems.change",
  method: "PATCH",
  path: "/dev/system/:id",
  summary: "Rename a site",
  params: OfItem,
  body: Type.Object({ Name }, { additionalProperties: false }),
  responses: { 200: { description: "The site", schema: System } },
  errors: [...found, "request.precondition"],
});

export const deleteSystem = operation({
  ...writes,
  id: "devices.systems.delete",
  method: "DELETE",
  path: "/dev/system/:id",
  summary: "Remove a site that has no servers any more",
  params: OfItem,
  responses: { 200: { description: "It is gone", schema: Reply } },
  errors: [...found, "site.not-empty"],
});
