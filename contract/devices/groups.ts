// SPDX-License-Identifier: Apache-2.0
/** Groups: devices of any sites of one owner under one name. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { Group, Name, OfItem, Reply, Uuid } from "./vocabulary.ts";

const reads = { surface: "devices", access: "bearer", scope: "devices:health", tag: "Groups" } as const;
const writes = { ...reads, scope: "devices:write" } as const;
const found = [...TOKEN_ERRORS, "group.not-found"] as const;

const Devices = Type.Array(Uuid, { minItems: 1, maxItems: 1000 });

export const listGroups = operation({
  ...reads,
  id: "devices.groups.list",
  method: "GET",
  path: "/dev/groups",
  summary: "Groups",
  query: Type.Object({ ...Paging, q: Type.Optional(Type.String({ maxLength: 200 })) }),
  responses: { 200: { description: "Groups", schema: Type.Array(Group) } },
  errors: TOKEN_ERRORS,
});

export const createGroup = operation({
  ...writes,
  id: "devices.groups.create",
  method: "POST",
  path: "/dev/groups",
  summary: "Make a group",
  body: Type.Object({ Name }, { additionalProperties: false }),
  responses: { 201: { description: "The group", schema: Group } },
  errors: TOKEN_ERRORS,
  idempotent: true,
  example: { body: { Name: "Entrances" } },
});

export const getGroup = operation({
  ...reads,
  id: "devices.groups.get",
  method: "GET",
  path: "/dev/group/:id",
  summary: "One group",
  params: OfItem,
  responses: { 200: { description: "The group", schema: Group }, 304: { description: "As it was" } },
  errors: found,
});

export const patchGroup = operation({
  ...writes,
  id: "devices.groups.change",
  method: "PATCH",
  path: "/dev/group/:id",
  summary: "Rename a group",
  params: OfItem,
  body: Type.Object({ Name }, { additionalProperties: false }),
  responses: { 200: { description: "The group", schema: Group } },
  errors: [...found, "request.precondition"],
});

export const deleteGroup = operation({
  ...writes,
  id: "devices.groups.delete",
  method: "DELETE",
  path: "/dev/group/:id",
  summary: "Remove a group; its devices stay",
  params: OfItem,
  responses: { 200: { description: "It is gone", schema: Reply } },
  errors: found,
});

export const addToGroup = operation({
  ...writes,
  id: "devices.groups.add",
  method: "POST",
  path: "/dev/group/:id/devices",
  summary: "Put devices into a group",
  params: OfItem,
  body: Type.Union([Type.Object({ Devices }, { additionalProperties: false }), Devices], {
    description: "Or the list alone",
  }),
  responses: { 200: { description: "The group", schema: Group } },
  errors: [...found, "device.not-found"],
});

export const removeFromGroup = operation({
  ...writes,
  id: "devices.groups.remove",
  method: "DELETE",
  path: "/dev/device/:id/group/:group",
  summary: "Take a device out of a group",
  params: Type.Object({ id: Uuid, group: Uuid }),
  responses: { 200: { description: "It is out", schema: Reply } },
  errors: [...found, "device.not-found"],
});
