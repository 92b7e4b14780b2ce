// SPDX-License-Identifier: Apache-2.0
/** The registry surface: every operation, in the order of the document. */
import type { Operation } from "../operation.ts";
import {
  deleteBlob,
  deleteUpload,
  finishUpload,
  getBlob,
  getUpload,
  headBlob,
  patchUpload,
  startUpload,
} from "./blobs.ts";
import {
  checkRegistry,
  deleteManifest,
  getManifest,
  headManifest,
  listReferrers,
  listRepositories,
  listTags,
  putManifest,
} from "./manifests.ts";

export const REGISTRY: readonly Operation[] = [
  checkRegistry,
  listRepositories,
  headManifest,
  getManifest,
  putManifest,
  deleteManifest,
  listTags,
  listReferrers,
  headBlob,
  getBlob,
  deleteBlob,
  startUpload,
  getUpload,
  patchUpload,
  finishUpload,
  deleteUpload,
];
