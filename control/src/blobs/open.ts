// SPDX-License-Identifier: Apache-2.0
/** The blob store that the configuration names: a bucket if there is one, else the folder. */
import { readFileSync } from "node:fs";
import { openFileStore } from "./file-store.ts";
import type { BlobStore } from "./port.ts";

export interface BlobsConfig {
  folder: string;
  s3: {
    endpoint: string | null;
    region: string;
    bucket: string | null;
    prefix: string;
    accessKeyId: string | null;
    secretAccessKeyFile: string | null;
  };
}

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/;

/** Half a configuration is an error at the start, not at the first blob. */
export async function openBlobStore({ folder, s3 }: BlobsConfig): Promise<BlobStore> {
  const { bucket, endpoint, region, prefix, accessKeyId, secretAccessKeyFile } = s3;
  if (bucket === null) {
    if (endpoint !== null || accessKeyId !== null || secretAccessKeyFile !== null)
      throw new Error("config blobs.s3: bucket missing");
    return openFileStore(folder);
  }
  if (accessKeyId === null) throw new Error("config blobs.s3: accessKeyId missing");
  if (secretAccessKeyFile === null) throw new Error("config blobs.s3: secretAccessKeyFile missing");
  if (endpoint !== null) requireGuarded(endpoint);
  const secretAccessKey = readFileSync(secretAccessKeyFile, "utf8").trim();
  // Brings a client of many megabytes, which nobody else needs.
  const { openS3Store } = await import("./s3-store.ts");
  return openS3Store({ endpoint, region, bucket, prefix, accessKeyId, secretAccessKey });
}

/** Who listens in on plain HTTP reads every blob; a signature keeps them from writing only. */
function requireGuarded(endpoint: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (url?.protocol === "https:") return;
  if (url?.protocol === "http:" && LOOPBACK.test(url.hostname)) return;
  throw new Error("config blobs.s3.endpoint: must be https, or http at this machine's own loopback");
}
