// SPDX-License-Identifier: Apache-2.0
/**
 * Blobs as files, of one folder and this process's uid alone:
 *
 *     <folder>/blobs/ab/cd/abcd…      0600, named by the SHA-256 of its bytes
 *              uploads/<id>           what has come so far
 *
 *  A. An upload becomes a blob by one rename, after its bytes are on the disk; the folder that names it
 *     is flushed as well before anybody is told.
 *  B. The hash runs along while bytes come. Only what this process wrote from the first byte on is
 *     believed; after a restart, or when the sizes differ, the file is read again.
 *  C. No name of a caller's reaches a path: uploads are named here, digests are 64 hexadecimal digits.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#contract/errors.ts";
import { isDigest } from "./digest.ts";
import { PieceWriter } from "./piece-writer.ts";
import type { Allow, BlobStore, ByteRange, Digest, Expected, Stored } from "./port.ts";

const UPLOAD = /^[0-9a-f]{32}$/;
const SHARD = /^[0-9a-f]{2}$/;
const CHUNK = 256 * 1024;
/** Written and hashed in one go; as much as came meanwhile, so that what came is soon in the file. */
const PIECES = { sizeBytes: 1024 * 1024, kind: "eager" } as const;
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_DIRECTORY } = constants;

export async function openFileStore(folder: string): Promise<BlobStore> {
  const store = new FileStore(folder);
  for (const name of ["blobs", "uploads"]) await mkdir(join(folder, name), { recursive: true, mode: 0o700 });
  return store;
}

class FileStore implements BlobStore {
  readonly #folder: string;
  /** Uploads of this process, as far as they were hashed (B). */
  readonly #hashed = new Map<string, { hash: Hash; sizeBytes: number }>();
  readonly #busy = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  async begin(): Promise<string> {
    const upload = randomBytes(16).toString("hex");
    const file = await open(this.#uploadPath(upload), O_WRONLY | O_CREAT | O_EXCL, 0o600).catch(noSpace);
    await file.close();
    this.#hashed.set(upload, { hash: createHash("sha256"), sizeBytes: 0 });
    return upload;
  }

  async sizeOfUpload(upload: string): Promise<number | null> {
    if (!UPLOAD.test(upload)) return null;
    return sizeOf(this.#uploadPath(upload));
  }

  append(upload: string, offset: number, source: AsyncIterable<Uint8Array>, allow: Allow): Promise<number> {
    return this.#alone(upload, async () => {
      await using file = await this.#openUpload(upload, O_WRONLY);
      const before = (await file.stat()).size;
      if (before !== offset)
        throw new Fault("blob.range", { detail: `The upload has ${before} bytes, so it goes on there.` });
      const known = this.#hashed.get(upload);
      const hash = known?.sizeBytes === offset ? known.hash : null;
      this.#hashed.delete(upload);
      let hashed = offset;
      const writer = new PieceWriter(PIECES, offset, async (at, piece) => {
        // The hash is made while the disk takes them.
        const writing = writeWhole(file, piece, at);
        hash?.update(piece);
        hashed += piece.length;
        await writing;
      });
      try {
        let size = offset;
        try {
          for await (const chunk of source) {
            size += chunk.length;
            await allow(size);
            await writer.write(chunk);
          }
        } finally {
          await writer.end();
        }
      } catch (error) {
        // Full: what this attempt took is given back, so that whoever frees room finds it free.
        if (isFull(error)) {
          await file.truncate(offset);
          throw new Fault("platform.no-space", {}, { cause: error });
        }
        // A piece that was written in part is no part of the upload.
        await file.truncate(writer.written);
        // Unless the hash knows of bytes that were not written.
        if (hash !== null && hashed === writer.written)
          this.#hashed.set(upload, { hash, sizeBytes: writer.written });
        throw error;
      } finally {
        // A write that was answered, well or not, reads nothing any more.
        writer.free();
      }
      if (hash !== null) this.#hashed.set(upload, { hash, sizeBytes: writer.written });
      return writer.written;
    });
  }

  hash(upload: string): Promise<Stored> {
    return this.#alone(upload, async () => {
      await using file = await this.#openUpload(upload, O_RDONLY);
      const { size } = await file.stat();
      const known = this.#hashed.get(upload);
      if (known?.sizeBytes === size) return { digest: digestOfHash(known.hash.copy()), sizeBytes: size };
      const hash = createHash("sha256");
      for await (const chunk of chunksOf(file, 0, size)) hash.update(chunk);
      return { digest: digestOfHash(hash), sizeBytes: size };
    });
  }

  finish(upload: string, digest: Digest): Promise<void> {
    return this.#alone(upload, async () => {
      const target = this.#blobPath(digest);
      {
        await using file = await this.#openUpload(upload, O_RDONLY);
        await file.sync();
      }
      const parent = join(target, "..");
      await mkdir(parent, { recursive: true, mode: 0o700 }).catch(noSpace);
      await rename(this.#uploadPath(upload), target).catch(noSpace);
      // The names of new folders as well, from the blob's own up to the first that was there.
      for (const path of [parent, join(parent, ".."), join(this.#folder, "blobs")]) await syncFolder(path);
      this.#hashed.delete(upload);
    });
  }

  async drop(upload: string): Promise<void> {
    if (!UPLOAD.test(upload)) return;
    this.#hashed.delete(upload);
    await rm(this.#uploadPath(upload), { force: true });
  }

  async put(source: AsyncIterable<Uint8Array>, expected: Expected): Promise<Stored> {
    const upload = await this.begin();
    try {
      await this.append(upload, 0, source, (size) => {
        if (size > expected.bytesMax)
          throw new Fault("blob.size", {
            detail: `There are more than ${expected.bytesMax} bytes.`,
          });
      });
      const stored = await this.hash(upload);
      if (expected.digest !== undefined && expected.digest !== stored.digest)
        throw new Fault("blob.digest", {
          detail: `The digest of these bytes is ${stored.digest}.`,
        });
      await this.finish(upload, stored.digest);
      return stored;
    } catch (error) {
      await this.drop(upload);
      throw error;
    }
  }

  async stat(digest: Digest): Promise<Stored | null> {
    const sizeBytes = await sizeOf(this.#blobPath(digest));
    return sizeBytes === null ? null : { digest, sizeBytes };
  }

  async get(digest: Digest, range?: ByteRange): Promise<AsyncIterable<Uint8Array> | null> {
    const file = await open(this.#blobPath(digest), O_RDONLY | O_NOFOLLOW).catch(absent);
    if (file === null) return null;
    const first = range?.first ?? 0;
    const end = range === undefined ? (await file.stat()).size : range.last + 1;
    return closing(file, chunksOf(file, first, end));
  }

  async remove(digest: Digest): Promise<void> {
    await rm(this.#blobPath(digest), { force: true });
  }

  async *list(): AsyncIterable<Stored> {
    const blobs = join(this.#folder, "blobs");
    for (const first of (await readdir(blobs)).filter((name) => SHARD.test(name)))
      for (const second of (await readdir(join(blobs, first))).filter((name) => SHARD.test(name)))
        for (const name of await readdir(join(blobs, first, second))) {
          const digest = `sha256:${name}`;
          const stored = isDigest(digest) ? await this.stat(digest) : null;
          if (stored !== null) yield stored;
        }
  }

  async sweep(idleMs: number): Promise<number> {
    let dropped = 0;
    const there = await readdir(join(this.#folder, "uploads"));
    for (const upload of this.#hashed.keys()) if (!there.includes(upload)) this.#hashed.delete(upload);
    for (const upload of there) {
      if (!UPLOAD.test(upload) || this.#busy.has(upload)) continue;
      const seen = await stat(this.#uploadPath(upload)).catch(absent);
      if (seen === null || Date.now() - seen.mtimeMs < idleMs) continue;
      await this.drop(upload);
      dropped++;
    }
    return dropped;
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

  async #openUpload(upload: string, flags: number): Promise<FileHandle> {
    const file = UPLOAD.test(upload)
      ? await open(this.#uploadPath(upload), flags | O_NOFOLLOW).catch(absent)
      : null;
    if (file === null) throw new Fault("blob.upload-unknown");
    return file;
  }

  #uploadPath(upload: string): string {
    return join(this.#folder, "uploads", upload);
  }

  #blobPath(digest: Digest): string {
    if (!isDigest(digest)) throw new Error("not a digest");
    const hex = digest.slice("sha256:".length);
    return join(this.#folder, "blobs", hex.slice(0, 2), hex.slice(2, 4), hex);
  }
}

/** The kernel may take less than it was given, above all on a disk that is almost full. */
async function writeWhole(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

async function* chunksOf(file: FileHandle, first: number, end: number): AsyncGenerator<Uint8Array> {
  for (let at = first; at < end; ) {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK, end - at));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) throw new Error("a file of the blob store is shorter than it was");
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

async function* closing(file: FileHandle, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, O_RDONLY | O_DIRECTORY);
  await folder.sync();
}

async function sizeOf(path: string): Promise<number | null> {
  const seen = await stat(path).catch(absent);
  return seen?.size ?? null;
}

const digestOfHash = (hash: Hash): Digest => `sha256:${hash.digest("hex")}`;

const isFull = (error: unknown) => ["ENOSPC", "EDQUOT"].includes((error as { code?: string }).code ?? "");

function noSpace(error: unknown): never {
  throw isFull(error) ? new Fault("platform.no-space", {}, { cause: error }) : error;
}

function absent(error: unknown): null {
  if ((error as { code?: string }).code !== "ENOENT") throw error;
  return null;
}
