// SPDX-License-Identifier: Apache-2.0
/** Errors in the format of OCI registries: {errors: [{code, message, detail}]}. Source: the specification's table of codes. */
import type { ErrorCode, Fault } from "#contract/errors.ts";

const BY_CODE: Partial<Record<ErrorCode, string>> = {
  "registry.name-invalid": "NAME_INVALID",
  "registry.name-unknown": "NAME_UNKNOWN",
  "blob.digest": "DIGEST_INVALID",
  "blob.size": "SIZE_INVALID",
  "blob.upload-unknown": "BLOB_UPLOAD_UNKNOWN",
  "blob.upload-busy": "BLOB_UPLOAD_INVALID",
  "blob.range": "BLOB_UPLOAD_INVALID",
  "registry.upload-invalid": "BLOB_UPLOAD_INVALID",
  "registry.blob-unknown": "BLOB_UNKNOWN",
  "registry.manifest-unknown": "MANIFEST_UNKNOWN",
  "registry.manifest-invalid": "MANIFEST_INVALID",
  "registry.manifest-blob-unknown": "MANIFEST_BLOB_UNKNOWN",
  "registry.limit": "DENIED",
  "identity.forbidden": "DENIED",
  "request.too-large": "SIZE_INVALID",
  "request.media-type": "MANIFEST_INVALID",
};

const BY_STATUS: Record<number, string> = {
  401: "UNAUTHORIZED",
  429: "TOOMANYREQUESTS",
  500: "UNKNOWN",
  503: "UNAVAILABLE",
};

export function dressError(fault: Fault, requestId: string): unknown {
  const code = BY_CODE[fault.code] ?? BY_STATUS[fault.kind.status] ?? "UNSUPPORTED";
  return { errors: [{ code, message: fault.message, detail: { requestId } }] };
}
