// SPDX-License-Identifier: Apache-2.0
/** Blobs of a repository: looked at, read, uploaded in one piece or many, mounted, removed. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { BLOB_MAX, InRepository, OfBlob, OfUpload } from "./vocabulary.ts";

const base = {
  surface: "registry",
  access: "key",
  tag: "Blobs",
  errors: ["identity.unauthorized", "registry.name-invalid", "registry.name-unknown", "limits.rate"],
} as const;
const writes = { ...base, scope: "registry:push" } as const;
const Text = Type.Optional(Type.String({ maxLength: 512 }));
const UPLOAD = "/v2/:name/blobs/uploads/:upload";

export const headBlob = operation({
  ...base,
  id: "registry.blobs.head",
  method: "HEAD",
  path: "/v2/:name/blobs/:digest",
  summary: "Whether a blob is there, and its size",
  params: OfBlob,
  responses: { 200: { description: "It is there" } },
});

export const getBlob = operation({
  ...base,
  id: "registry.blobs.get",
  method: "GET",
  path: "/v2/:name/blobs/:digest",
  summary: "Read a blob, or a range of it",
  params: OfBlob,
  responses: {
    200: { description: "The bytes", mediaType: "application/octet-stream" },
    206: { description: "The bytes of the range", mediaType: "application/octet-stream" },
  },
  errors: [...base.errors, "blob.digest", "registry.blob-unknown", "blob.range"],
});

export const deleteBlob = operation({
  ...writes,
  id: "registry.blobs.delete",
  method: "DELETE",
  path: "/v2/:name/blobs/:digest",
  summary: "Remove a blob that no manifest needs",
  params: OfBlob,
  responses: { 202: { description: "Removed from this repository" } },
  errors: [...base.errors, "blob.digest", "registry.blob-unknown", "registry.blob-in-use"],
});

export const startUpload = operation({
  ...writes,
  id: "registry.uploads.start",
  method: "POST",
  path: "/v2/:name/blobs/uploads/",
  summary: "Begin an upload, push a whole blob, or mount one of another repository of the account",
  params: InRepository,
  query: Type.Object({ digest: Text, mount: Text, from: Text }),
  bodyKind: "bytes",
  bodyLimit: BLOB_MAX,
  responses: {
    201: { description: "The blob is in the repository" },
    202: { description: "The upload goes on at Location" },
  },
  errors: [...base.errors, "blob.digest", "registry.limit"],
});

export const patchUpload = operation({
  ...writes,
  id: "registry.uploads.append",
  method: "PATCH",
  path: UPLOAD,
  summary: "Append to an upload",
  params: OfUpload,
  bodyKind: "bytes",
  bodyLimit: BLOB_MAX,
  responses: { 202: { description: "Range says what is there" } },
  errors: [
    ...base.errors,
    "blob.upload-unknown",
    "registry.upload-invalid",
    "blob.upload-busy",
    "blob.size",
    "blob.range",
    "registry.limit",
  ],
});

export const finishUpload = operation({
  ...writes,
  id: "registry.uploads.finish",
  method: "PUT",
  path: UPLOAD,
  summary: "End an upload, perhaps with its last piece",
  params: OfUpload,
  query: Type.Object({ digest: Text }),
  bodyKind: "bytes",
  bodyLimit: BLOB_MAX,
  responses: { 201: { description: "The blob is in the repository" } },
  errors: [...patchUpload.errors, "blob.digest"],
});

export const getUpload = operation({
  ...writes,
  id: "registry.uploads.get",
  method: "GET",
  path: UPLOAD,
  summary: "How far an upload came",
  params: OfUpload,
  responses: { 204: { description: "Range says what is there" } },
  errors: [...base.errors, "blob.upload-unknown"],
});

export const deleteUpload = operation({
  ...writes,
  id: "registry.uploads.delete",
  method: "DELETE",
  path: UPLOAD,
  summary: "Give an upload up",
  params: OfUpload,
  responses: { 204: { description: "Gone" } },
  errors: [...base.errors, "blob.upload-unknown"],
});
