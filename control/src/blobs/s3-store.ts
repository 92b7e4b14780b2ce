// SPDX-License-Identifier: Apache-2.0
/**
 * Blobs in a bucket, of any service that speaks S3:
 *
 *     <prefix>blobs/<64 hexadecimal digits>                  named by the SHA-256 of its bytes
 *             uploads/<id>/<offset>.<length>.<time>          what came so far, in pieces
 *             uploads/<id>/begun.<time>                      that it was begun
 *
 *  A. A blob comes to be by a copy that the service makes whole or not at all; only then its pieces go.
 *  B. Pieces that do not lie end to end are no upload: two processes wrote at once. Nothing is made of them.
 *  C. The hash runs along while bytes come. Only what this process wrote from the first byte on is
 *     believed; otherwise all pieces are read again. Each request's own digest is signed with it, so a
 *     service that stored other bytes than it was sent refused them.
 *  D. Times are in names, by the clock of who wrote: services tell theirs in seconds, or not at all.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { Fault } from "#contract/errors.ts";
import { isDigest } from "./digest.ts";
import { PieceWriter } from "./piece-writer.ts";
import type { Allow, BlobStore, ByteRange, Digest, Expected, Stored } from "./port.ts";

export interface S3Options {
  /** `https://s3.example.com`; null: Amazon's of the region. */
  endpoint: string | null;
  region: string;
  bucket: string;
  /** Of every key; empty or ending in a slash. */
  prefix: string;
  accessKeyId: string;
  secretAccessKey: string;
}

const UPLOAD = /^[0-9a-f]{32}$/;
const PIECE = /^(\d{16})\.(\d+)\.(\d+)$/;
const BEGUN = /^begun\.(\d+)$/;
/** Of all but the last, which lets the service put them together itself: it takes none below 5 MiB. */
const PIECES = { sizeBytes: 8 * 1024 * 1024, kind: "whole" } as const;
const PART_MIN = 5 * 1024 * 1024;
const TRIES = 4;

interface Piece {
  key: string;
  offset: number;
  sizeBytes: number;
}

interface Seen {
  pieces: Piece[];
  sizeBytes: number;
  /** Of whatever came last. */
  atMs: number;
  keys: string[];
}

export function openS3Store(options: S3Options): BlobStore & { close(): void } {
  const { endpoint, region, accessKeyId, secretAccessKey } = options;
  const client = new S3Client({
    ...{ region, credentials: { accessKeyId, secretAccessKey }, maxAttempts: TRIES },
    // Buckets below the host's name need a name server and a certificate for each.
    ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
    // Other services than Amazon's know the older form only, and the digest of the body is signed anyway (C).
    ...{ requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED" },
  });
  return new S3Store(client, options.bucket, options.prefix);
}

class S3Store implements BlobStore {
  readonly #client: S3Client;
  readonly #at: { Bucket: string };
  readonly #prefix: string;
  readonly #hashed = new Map<string, { hash: Hash; sizeBytes: number }>();
  readonly #busy = new Set<string>();

  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client;
    this.#at = { Bucket: bucket };
    this.#prefix = prefix;
  }

  close(): void {
    this.#client.destroy();
  }

  async begin(): Promise<string> {
    const upload = randomBytes(16).toString("hex");
    await this.#put(`uploads/${upload}/begun.${Date.now()}`, new Uint8Array());
    this.#hashed.set(upload, { hash: createHash("sha256"), sizeBytes: 0 });
    return upload;
  }

  async sizeOfUpload(upload: string): Promise<number | null> {
    return (await this.#find(upload))?.sizeBytes ?? null;
  }

  append(upload: string, offset: number, source: AsyncIterable<Uint8Array>, allow: Allow): Promise<number> {
    return this.#alone(upload, async () => {
      const { sizeBytes } = await this.#require(upload);
      if (sizeBytes !== offset)
        throw new Fault("blob.range", { detail: `The upload has ${sizeBytes} bytes, so it goes on there.` });
      const known = this.#hashed.get(upload);
      const hash = known?.sizeBytes === offset ? known.hash : null;
      this.#hashed.delete(upload);
      const writer = new PieceWriter(PIECES, offset, async (at, bytes) => {
        const key = `${String(at).padStart(16, "0")}.${bytes.length}.${Date.now()}`;
        await this.#put(`uploads/${upload}/${key}`, bytes);
        hash?.update(bytes);
      });
      let size = offset;
      try {
        for await (const chunk of source) {
          await allow(size + chunk.length);
          size += chunk.length;
          await writer.write(chunk);
        }
      } finally {
        // What came before a source broke off stays.
        await writer.end();
        if (hash !== null) this.#hashed.set(upload, { hash, sizeBytes: writer.written });
      }
      return writer.written;
    });
  }

  hash(upload: string): Promise<Stored> {
    return this.#alone(upload, async () => {
      const { pieces, sizeBytes } = await this.#require(upload);
      const known = this.#hashed.get(upload);
      if (known?.sizeBytes === sizeBytes) return { digest: digestOfHash(known.hash.copy()), sizeBytes };
      const hash = createHash("sha256");
      for await (const chunk of this.#read(pieces)) hash.update(chunk);
      this.#hashed.set(upload, { hash, sizeBytes });
      return { digest: digestOfHash(hash.copy()), sizeBytes };
    });
  }

  finish(upload: string, digest: Digest): Promise<void> {
    return this.#alone(upload, async () => {
      const { pieces, sizeBytes, keys } = await this.#require(upload);
      const key = blobKey(digest);
      const known = this.#hashed.get(upload);
      // Whatever was appended past us since `hash` is not what this digest names (A of the port).
      if (known?.sizeBytes !== sizeBytes || digestOfHash(known.hash.copy()) !== digest)
        throw new Fault("blob.upload-unknown");
      if (pieces.length === 0) await this.#put(key, new Uint8Array());
      else if (pieces.length === 1) await this.#copy(pieces[0]!.key, key);
      else await this.#assemble(pieces, key);
      for (const each of keys) await this.#delete(each);
      this.#hashed.delete(upload);
    });
  }

  async drop(upload: string): Promise<void> {
    if (!UPLOAD.test(upload)) return;
    this.#hashed.delete(upload);
    for await (const { key } of this.#list(`uploads/${upload}/`)) await this.#delete(key);
  }

  async put(source: AsyncIterable<Uint8Array>, expected: Expected): Promise<Stored> {
    const upload = await this.begin();
    try {
      await this.append(upload, 0, source, (size) => {
        if (size > expected.bytesMax)
          throw new Fault("blob.size", { detail: `There are more than ${expected.bytesMax} bytes.` });
      });
      const stored = await this.hash(upload);
      if (expected.digest !== undefined && expected.digest !== stored.digest)
        throw new Fault("blob.digest", { detail: `The digest of these bytes is ${stored.digest}.` });
      await this.finish(upload, stored.digest);
      return stored;
    } catch (error) {
      await this.drop(upload);
      throw error;
    }
  }

  async stat(digest: Digest): Promise<Stored | null> {
    const Key = this.#key(blobKey(digest));
    const head = await this.#send(() => this.#client.send(new HeadObjectCommand({ ...this.#at, Key })), null);
    return head === null ? null : { digest, sizeBytes: head.ContentLength ?? 0 };
  }

  async get(digest: Digest, range?: ByteRange): Promise<AsyncIterable<Uint8Array> | null> {
    return this.#open(blobKey(digest), range);
  }

  async remove(digest: Digest): Promise<void> {
    await this.#delete(blobKey(digest));
  }

  async *list(): AsyncIterable<Stored> {
    for await (const { key, sizeBytes } of this.#list("blobs/")) {
      const digest = `sha256:${key.slice("blobs/".length)}`;
      if (isDigest(digest)) yield { digest, sizeBytes };
    }
  }

  async sweep(idleMs: number): Promise<number> {
    const uploads = new Map<string, number>();
    for await (const { key } of this.#list("uploads/")) {
      const [, upload = "", name = ""] = key.split("/");
      const at = Number(PIECE.exec(name)?.[3] ?? BEGUN.exec(name)?.[1] ?? 0);
      uploads.set(upload, Math.max(uploads.get(upload) ?? 0, at));
    }
    for (const upload of this.#hashed.keys()) if (!uploads.has(upload)) this.#hashed.delete(upload);
    let dropped = 0;
    for (const [upload, at] of uploads) {
      if (this.#busy.has(upload) || Date.now() - at < idleMs) continue;
      await this.drop(upload);
      dropped++;
    }
    await this.#abandonParts(idleMs);
    return dropped;
  }

  /** What a process that died while it put pieces together left at the service, where no list shows it. */
  async #abandonParts(idleMs: number): Promise<void> {
    const Prefix = this.#key("blobs/");
    const { Uploads = [] } = await this.#send(() =>
      this.#client.send(new ListMultipartUploadsCommand({ ...this.#at, Prefix })),
    );
    for (const { Key, UploadId, Initiated } of Uploads) {
      if (Initiated === undefined || Date.now() - Initiated.getTime() < idleMs) continue;
      const abort = new AbortMultipartUploadCommand({ ...this.#at, Key, UploadId });
      await this.#send(() => this.#client.send(abort), null);
    }
  }

  async #assemble(pieces: Piece[], key: string): Promise<void> {
    const target = { ...this.#at, Key: this.#key(key) };
    const { UploadId } = await this.#send(() => this.#client.send(new CreateMultipartUploadCommand(target)));
    try {
      const regular = pieces.slice(0, -1).every(({ sizeBytes }) => sizeBytes >= PART_MIN);
      const tags = regular
        ? await this.#copyParts(pieces, target, UploadId)
        : await this.#sendParts(pieces, target, UploadId);
      const Parts = tags.map((ETag, index) => ({ PartNumber: index + 1, ETag }));
      const complete = new CompleteMultipartUploadCommand({
        ...target,
        UploadId,
        MultipartUpload: { Parts },
      });
      await this.#send(() => this.#client.send(complete));
    } catch (error) {
      await this.#client.send(new AbortMultipartUploadCommand({ ...target, UploadId })).catch(() => {});
      throw error;
    }
  }

  async #copyParts(pieces: Piece[], target: Target, UploadId: string | undefined): Promise<string[]> {
    const tags: string[] = [];
    for (const { key } of pieces) {
      const part = { ...target, UploadId, PartNumber: tags.length + 1, CopySource: this.#source(key) };
      const { CopyPartResult } = await this.#send(() => this.#client.send(new UploadPartCopyCommand(part)));
      tags.push(CopyPartResult?.ETag ?? "");
    }
    return tags;
  }

  async #sendParts(pieces: Piece[], target: Target, UploadId: string | undefined): Promise<string[]> {
    const tags: string[] = [];
    const writer = new PieceWriter(PIECES, 0, async (_at, Body) => {
      const part = new UploadPartCommand({ ...target, UploadId, PartNumber: tags.length + 1, Body });
      const { ETag } = await this.#send(() => this.#client.send(part));
      tags.push(ETag ?? "");
    });
    for await (const chunk of this.#read(pieces)) await writer.write(chunk);
    await writer.end();
    return tags;
  }

  async *#read(pieces: Piece[]): AsyncGenerator<Uint8Array> {
    for (const { key } of pieces) {
      const bytes = await this.#open(key);
      if (bytes === null) throw new Fault("blob.upload-unknown");
      yield* bytes;
    }
  }

  async #open(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array> | null> {
    const Range = range === undefined ? {} : { Range: `bytes=${range.first}-${range.last}` };
    const get = new GetObjectCommand({ ...this.#at, Key: this.#key(key), ...Range });
    const got = await this.#send(() => this.#client.send(get), null);
    return got === null ? null : (got.Body as unknown as AsyncIterable<Uint8Array>);
  }

  async #find(upload: string): Promise<Seen | null> {
    if (!UPLOAD.test(upload)) return null;
    const seen: Seen = { pieces: [], sizeBytes: 0, atMs: 0, keys: [] };
    let begun = false;
    // In the order of their names, and so of their offsets.
    for await (const { key } of this.#list(`uploads/${upload}/`)) {
      const name = key.split("/")[2] ?? "";
      seen.keys.push(key);
      if (BEGUN.test(name)) begun = true;
      const [, offset, length] = PIECE.exec(name) ?? [];
      if (offset === undefined) continue;
      if (Number(offset) !== seen.sizeBytes) return null;
      seen.pieces.push({ key, offset: Number(offset), sizeBytes: Number(length) });
      seen.sizeBytes += Number(length);
    }
    return begun ? seen : null;
  }

  async #require(upload: string): Promise<Seen> {
    const seen = await this.#find(upload);
    if (seen === null) throw new Fault("blob.upload-unknown");
    return seen;
  }

  async *#list(prefix: string): AsyncGenerator<{ key: string; sizeBytes: number }> {
    for (let ContinuationToken: string | undefined; ; ) {
      const list = new ListObjectsV2Command({ ...this.#at, Prefix: this.#key(prefix), ContinuationToken });
      const page = await this.#send(() => this.#client.send(list));
      for (const { Key, Size } of page.Contents ?? [])
        yield { key: (Key ?? "").slice(this.#prefix.length), sizeBytes: Size ?? 0 };
      ContinuationToken = page.NextContinuationToken;
      if (page.IsTruncated !== true || ContinuationToken === undefined) return;
    }
  }

  async #put(key: string, Body: Uint8Array): Promise<void> {
    const put = new PutObjectCommand({ ...this.#at, Key: this.#key(key), Body });
    await this.#send(() => this.#client.send(put));
  }

  async #copy(from: string, to: string): Promise<void> {
    const copy = new CopyObjectCommand({ ...this.#at, Key: this.#key(to), CopySource: this.#source(from) });
    await this.#send(() => this.#client.send(copy));
  }

  async #delete(key: string): Promise<void> {
    const remove = new DeleteObjectCommand({ ...this.#at, Key: this.#key(key) });
    await this.#send(() => this.#client.send(remove));
  }

  /** C of the port. */
  async #alone<T>(upload: string, work: () => Promise<T>): Promise<T> {
    if (this.#busy.has(upload)) throw new Fault("blob.upload-busy", {}, { retryAfterSeconds: 1 });
    this.#busy.add(upload);
    try {
      return await work();
    } finally {
      this.#busy.delete(upload);
    }
  }

  /** `absent` is answered when there is no such object; without it that is a fault as any other. */
  async #send<T, A = never>(work: () => Promise<T>, ...absent: A[]): Promise<T | A> {
    try {
      return await work();
    } catch (error) {
      const { name, $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
      if (absent.length > 0 && ($metadata?.httpStatusCode === 404 || name === "NoSuchUpload"))
        return absent[0]!;
      if (name === "StorageFull" || $metadata?.httpStatusCode === 507)
        throw new Fault("platform.no-space", {}, { cause: error });
      throw new Fault("blob.store-unavailable", {}, { cause: error, retryAfterSeconds: 5 });
    }
  }

  #key(key: string): string {
    return `${this.#prefix}${key}`;
  }

  #source(key: string): string {
    return `${this.#at.Bucket}/${encodeURI(this.#key(key))}`;
  }
}

type Target = { Bucket: string; Key: string };

function blobKey(digest: Digest): string {
  if (!isDigest(digest)) throw new Error("not a digest");
  return `blobs/${digest.slice("sha256:".length)}`;
}

const digestOfHash = (hash: Hash): Digest => `sha256:${hash.digest("hex")}`;
