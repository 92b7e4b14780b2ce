// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { SessionParams } from "./vocabulary.ts";

/** Bytes; the session's own memory is usually the smaller bound. */
export const FILE_MAX = 4 * 1024 * 1024 * 1024;

const params = Type.Object({ ...SessionParams.properties, "*": Type.String({ maxLength: 4096 }) });
const errors = [
  "identity.unauthorized",
  "session.not-found",
  "session.ended",
  "session.file-path",
  "limits.rate",
] as const;

export const putFile = operation({
  id: "sessions.files.put",
  surface: "sessions",
  method: "PUT",
  path: "/v1/sessions/:id/files/*",
  access: "key",
  tag: "Files",
  summary: "Write a file below /session",
  params,
  bodyKind: "bytes",
  bodyLimit: FILE_MAX,
  responses: {
    200: { description: "Written", schema: Type.Object({ path: Type.String(), size_bytes: Type.Integer() }) },
  },
  errors: [...errors, "machine.file-refused", "machine.file-too-large"],
});

export const getFile = operation({
  id: "sessions.files.get",
  surface: "sessions",
  method: "GET",
  path: "/v1/sessions/:id/files/*",
  access: "key",
  tag: "Files",
  summary: "Read a file below /session",
  params,
  responses: { 200: { description: "The bytes", mediaType: "application/octet-stream" } },
  errors: [...errors, "machine.file-not-found"],
});

export const deleteFile = operation({
  id: "sessions.files.delete",
  surface: "sessions",
  method: "DELETE",
  path: "/v1/sessions/:id/files/*",
  access: "key",
  tag: "Files",
  summary: "Remove a file below /session",
  params,
  responses: { 204: { description: "Removed" } },
  errors: [...errors, "machine.file-not-found"],
});
