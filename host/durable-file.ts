// SPDX-License-Identifier: Apache-2.0
/**
 * Small files replaced whole. A reader, also one after a kill or a power cut, finds the old bytes or
 * the new ones: written beside, then renamed over.
 */
import { randomBytes } from "node:crypto";
import {
  close,
  closeSync,
  fdatasync,
  fstatSync,
  fsync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { plainFiles } from "./blank-files.ts";
import { KEY_BYTES } from "./seal.ts";

export const TEMPORARY = ".new";
const flushData = promisify(fdatasync);
const flushAll = promisify(fsync);
const closeFile = promisify(close);

/**
 * How far the bytes are when `replaceFile` resolves. `behind`: in the page cache, which outlives this
 * process but not the machine; a lane flushes them later. `name`: on disk, and found under its name
 * whatever happens now.
 */
export type Flush = { behind: FlushLane } | "name";

/** Only the flushes leave this thread: the short calls cost 0.1 ms in all, and turns through the thread pool 1. */
export async function replaceFile(
  path: string,
  bytes: Uint8Array,
  flush: Flush,
  files = plainFiles,
): Promise<void> {
  const beside = path + TEMPORARY;
  let fd: number | undefined;
  try {
    fd = files.open(beside);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    if (typeof flush === "object") {
      renameSync(beside, path);
      const mine = fd;
      fd = undefined;
      await flush.behind.take(mine);
      return;
    }
    await flushData(fd);
    renameSync(beside, path);
    await flushFolder(dirname(path));
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Flushes one file after another behind the work. One lane, because each flush holds one of the four
 * threads that do all file work of the process: with a flush per create they were all taken, and the
 * next create waited for the disk after all (p95 6 ms instead of under 1).
 */
export class FlushLane {
  static readonly #WAITING_MAX = 256;
  readonly #onFault: (error: unknown) => void;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(onFault: (error: unknown) => void) {
    this.#onFault = onFault;
  }

  /** Takes the open file over. Resolves at once unless the disk cannot keep up. */
  async take(fd: number): Promise<void> {
    this.#waiting += 1;
    this.#last = this.#last.then(async () => {
      await flushData(fd).catch(this.#onFault);
      await closeFile(fd).catch(this.#onFault);
      this.#waiting -= 1;
    });
    if (this.#waiting > FlushLane.#WAITING_MAX) await this.#last;
  }

  /** Resolves when everything taken so far is flushed. */
  drained(): Promise<void> {
    return this.#last;
  }
}

/**
 * Zeros over the bytes in place, flushed, then unlinked. On a file system that writes elsewhere
 * (copy-on-write, most flash) the old blocks may survive below us; what they hold is a wrapped key.
 */
export async function eraseFile(path: string, files = plainFiles): Promise<void> {
  let fd: number;
  try {
    fd = openSync(path, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    const zeros = Buffer.alloc(fstatSync(fd).size);
    for (let at = 0; at < zeros.length; ) at += writeSync(fd, zeros, at, zeros.length - at, at);
    await flushData(fd);
  } finally {
    closeSync(fd);
  }
  files.remove(path);
}

async function flushFolder(folder: string): Promise<void> {
  const fd = openSync(folder, "r");
  try {
    await flushAll(fd);
  } finally {
    closeSync(fd);
  }
}

/** The 32 bytes of a key file, made at first use with mode 0600. */
export async function keyFile(path: string): Promise<Buffer> {
  let key: Buffer;
  try {
    key = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    key = randomBytes(KEY_BYTES);
    await replaceFile(path, key, "name");
  }
  if (key.length !== KEY_BYTES) throw new Error(`${path} is not a key of ${KEY_BYTES} bytes`);
  return key;
}
