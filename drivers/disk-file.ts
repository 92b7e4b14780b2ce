// SPDX-License-Identifier: Apache-2.0
/**
 * A disk in a file, read and written as parts (kept-driver.ts, G). Zeros are found by reading: what was never written reads as
 * zeros on every file system, and a block of ciphertext that is all zeros, should there ever be one, comes out the same.
 */
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DriverFault } from "./driver.ts";
import type { DiskPart } from "./kept-driver.ts";

const BLOCK = 4096;
const READ_BLOCKS = 63;
const ZEROS = Buffer.alloc(BLOCK * READ_BLOCKS);
/** How far it has come is said at least so often: who waits sees that somebody reads. */
const SAID_EVERY = 64 * 1024 * 1024;
/** Beside the disk, until it is whole. */
const COMING = ".coming";
/** What a process that was killed may have left of a disk that came. */
export const halfOf = (path: string): string => path + COMING;

/** Rejects when there is no disk. The file is not followed if it is a link. */
export async function readDiskFile(path: string, signal: AbortSignal): Promise<AsyncIterable<DiskPart>> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      throw new DriverFault("host.not-ready", "this host has no disk of the machine");
    throw error;
  });
  return partsOf(file, signal);
}

async function* partsOf(file: FileHandle, signal: AbortSignal): AsyncGenerator<DiskPart> {
  try {
    const { size } = await file.stat();
    let saidAt = 0;
    for (let at = 0; at < size; ) {
      signal.throwIfAborted();
      const buffer = Buffer.allocUnsafe(Math.min(ZEROS.length, size - at));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Error("the disk became smaller while it was read");
      for (const part of filled(buffer.subarray(0, bytesRead), at)) {
        yield part;
        saidAt = at;
      }
      at += bytesRead;
      if (at - saidAt < SAID_EVERY) continue;
      yield { offset: at, bytes: ZEROS.subarray(0, 0) };
      saidAt = at;
    }
    yield { offset: size, bytes: ZEROS.subarray(0, 0) };
  } finally {
    await file.close();
  }
}

/** The stretches of blocks in which anything stands. */
function* filled(bytes: Buffer, offset: number): Generator<DiskPart> {
  if (bytes.equals(ZEROS.subarray(0, bytes.length))) return;
  let from = -1;
  for (let at = 0; at < bytes.length; at += BLOCK) {
    const block = bytes.subarray(at, at + BLOCK);
    const isZero = block.equals(ZEROS.subarray(0, block.length));
    if (!isZero && from < 0) from = at;
    if (isZero && from >= 0) {
      yield { offset: offset + from, bytes: bytes.subarray(from, at) };
      from = -1;
    }
  }
  if (from >= 0) yield { offset: offset + from, bytes: bytes.subarray(from) };
}

/** G: beside, flushed, and only then under its name. */
export async function writeDiskFile(
  path: string,
  parts: AsyncIterable<DiskPart>,
  signal: AbortSignal,
): Promise<void> {
  const coming = halfOf(path);
  await rm(coming, { force: true });
  try {
    const file = await open(coming, "wx", 0o600);
    try {
      let size = 0;
      for await (const { offset, bytes } of parts) {
        signal.throwIfAborted();
        for (let at = 0; at < bytes.length; )
          at += (await file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
        size = Math.max(size, offset + bytes.length);
      }
      await file.truncate(size);
      await file.sync();
    } finally {
      await file.close();
    }
    // Called off while it was flushed: what it was for is not wished for any more.
    signal.throwIfAborted();
    await rename(coming, path);
  } catch (error) {
    await rm(coming, { force: true });
    throw error;
  }
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
