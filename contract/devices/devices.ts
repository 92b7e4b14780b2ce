// SPDX-License-Identifier: Apache-2.0
/** Devices: cameras and other inputs that a server has. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation, spelled } from "../operation.ts";
import { Device, Name, OfItem, Reply, Status, Uuid, Word } from "./vocabulary.ts";

const reads = { surface: "devices", access: "bearer", scope: "devices:health", tag: "Devices" } as const;
const writes = { ...reads, scope: "devices:write" } as const;
const found = [...TOKEN_ERRORS, "device.not-found"] as const;
const Filters = {
  ...Paging,
  q: Type.Optional(Type.String({ maxLength: 200 })),
  Server: Type.Optional(Uuid),
  Group: Type.Optional(Uuid),
  Tag: Type.Optional(Word),
  Status: Type.Optional(Status),
};
const Tags = Type.Array(Word, { maxItems: 50 });

export const listDevices = operation({
  ...reads,
  id: "devices.devices.list",
  method: "GET",
  path: "/dev/devices",
  summary: "Devices of all sites",
  query: Type.Object({ ...Filters, System: Type.Optional(Uuid) }),
  responses: { 200: { description: "Devices", schema: Type.Array(Device) } },
  errors: TOKEN_ERRORS,
});

export const listSystemDevices = operation({
  ...reads,
  id: "devices.systems.devices",
  method: "GET",
  path: "/dev/system/:id/devices",
  summary: "Devices of a site",
  params: OfItem,
  query: Type.Object(Filters),
  responses: { 200: { description: "Devices", schema: Type.Array(Device) } },
  errors: [...TOKEN_ERRORS, "site.not-found"],
});

export const createDevice = operation({
  ...writes,
  id: "devices.devices.create",
  method: "POST",
  path: "/dev/devices",
  summary: "Add a device to a server, or with a server of its own",
  description:
    "`Server` says which server has it. With a `RegistrationToken` of a site in its place the device is a machine of its own: it comes in with a server that has nothing else, and `Key`, shown once, is that server's. `Runtime` is the server's, for all that it has.",
  body: Type.Object(
    {
      Name,
      Server: Type.Optional(Uuid),
      RegistrationToken: Type.Optional(Type.String({ maxLength: 128 })),
      Runtime: Type.Optional(Word),
      Serial: Type.Optional(Word),
      Type: Type.Optional(Word),
      Tags: Type.Optional(Tags),
      Enabled: Type.Optional(Type.Boolean()),
      Active: Type.Optional(Type.Boolean()),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: {
      description: "The device",
      schema: Type.Object({ ...Device.properties, Key: Type.Optional(Type.String()) }),
    },
  },
  errors: [
    ...TOKEN_ERRORS,
    ...(["server.not-found", "server.runtime", "registration.refused"] as const),
    ...(["device.exists", "device.too-many"] as const),
  ],
  idempotent: true,
});

export const getDevice = operation({
  ...reads,
  id: "devices.devices.get",
  method: "GET",
  path: "/dev/device/:id",
  summary: "One device",
  params: OfItem,
  responses: { 200: { description: "The device", schema: Device }, 304: { description: "As it was" } },
  errors: found,
});

export const patchDevice = operation({
  ...writes,
  id: "devices.devices.change",
  method: "PATCH",
  path: "/dev/device/:id",
  summary: "Rename a device, tag it, switch it on or off",
  description: "`Runtime` is its server's, for all that the server has.",
  params: OfItem,
  body: Type.Object(
    {
      Name: Type.Optional(Name),
      Runtime: Type.Optional(Word),
      Serial: Type.Optional(Word),
      Type: Type.Optional(Word),
      Tags: Type.Optional(Tags),
      Enabled: Type.Optional(Type.Boolean()),
      Active: Type.Optional(Type.Boolean()),
    },
    { additionalProperties: false },
  ),
  responses: { 200: { description: "The device", schema: Device } },
  errors: [...found, "request.precondition", "server.runtime", "device.exists"],
});

export const deleteDevice = operation({
  ...writes,
  id: "devices.devices.delete",
  method: "DELETE",
  path: "/dev/device/:id",
  summary: "Remove a device",
  params: OfItem,
  responses: { 200: { description: "It is gone", schema: Reply } },
  errors: found,
});

export const statistics = operation({
  ...reads,
  id: "devices.devices.statistics",
  method: "GET",
  path: "/dev/devices/statistics",
  summary: "How many devices there are, and on what",
  responses: {
    200: {
      description: "Counts",
      schema: Type.Object({
        Total: Type.Integer(),
        Online: Type.Integer(),
        Active: Type.Integer(),
        ByRuntime: Type.Record(Type.String(), Type.Integer()),
        Inferences: Type.Integer({
          description: "Runs of models that the servers which are there told of since they came in",
        }),
      }),
    },
  },
  errors: TOKEN_ERRORS,
});

export const OTHER_SPELLINGS = {
  getDevice: spelled(getDevice, "/dev/devices/:id"),
  patchDevice: spelled(patchDevice, "/dev/devices/:id"),
  deleteDevice: spelled(deleteDevice, "/dev/devices/:id"),
};
