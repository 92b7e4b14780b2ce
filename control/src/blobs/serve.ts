// SPDX-License-Identifier: Apache-2.0
/**
 * A blob over HTTP, whole or a part of it. Blobs never change, so the tag of one is its digest, and who
 * was cut off goes on where they were.
 */
import type { IncomingHttpHeaders } from "node:http";
import { byteRangeOf } from "./byte-range.ts";
import type { BlobStore, Digest } from "./port.ts";

export interface Served {
  status: 200 | 206 | 304;
  headers: Record<string, string>;
  download: AsyncIterable<Uint8Array>;
  mediaType: string;
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** Null: its bytes are lost. */
export async function serveBlob(
  store: BlobStore,
  blob: { digest: Digest; sizeBytes: number; headers: Record<string, string> },
  asked: IncomingHttpHeaders,
): Promise<Served | null> {
  const etag = `"${blob.digest}"`;
  const headers = { ...blob.headers, etag, "accept-ranges": "bytes" };
  const mediaType = "application/octet-stream";
  const known = asked["if-none-match"]?.split(",").map((part) => part.trim().replace(/^W\//, "")) ?? [];
  if (known.includes("*") || known.includes(etag))
    return { status: 304, headers, download: nothing(), mediaType };
  // A range of what was begun of another blob would be put together with this one's.
  const wanted = asked["if-range"];
  const range = wanted === undefined || wanted === etag ? byteRangeOf(asked.range, blob.sizeBytes) : null;
  const download = await store.get(blob.digest, range ?? undefined);
  if (download === null) return null;
  if (range === null)
    return {
      status: 200,
      headers: { ...headers, "content-length": String(blob.sizeBytes) },
      download,
      mediaType,
    };
  const { first, last } = range;
  const part = {
    "content-length": String(last - first + 1),
    "content-range": `bytes ${first}-${last}/${blob.sizeBytes}`,
  };
  return { status: 206, headers: { ...headers, ...part }, download, mediaType };
}
