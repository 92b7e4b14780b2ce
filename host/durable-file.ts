// SPDX-License-Identifier: Apache-2.0
/**
 * Small files replaced whole. A reader, also one after a kill or a power cut, finds the old bytes or
 * the new ones: written beside, then renamed over.
 */
import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { KEY_BYTES } from "./seal.ts";

export const TEMPORARY = ".new";

/**
 * `flush` false returns once the bytes are in the page cache, which outlives this process but not the
 * machine; the flush goes on behind and its failure is given to `onLateFault`.
 */
export async function replaceFile(
  path: string,
  bytes: Uint8Array,
  flush: boolean,
  onLateFault: (error: unknown) => void = () => {},
): Promise<void> {
  const beside = path + TEMPORARY;
  const file = await open(beside, "w", 0o600);
  let handed = false;
  try {
    await file.writeFile(bytes);
    if (flush) await file.datasync();
    await rename(beside, path);
    if (flush) flushFolder(dirname(path));
    else {
      handed = true;
      void file
        .datasync()
        .catch(onLateFault)
        .finally(() => file.close().catch(onLateFault));
    }
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw error;
  } finally {
    if (!handed) await file.close();
  }
}

/**
 * Zeros over the bytes in place, flushed, then unlinked. On a file system that writes elsewhere
 * (copy-on-write, most flash) the old blocks may survive below us; what they hold is a wrapped key.
 */
export async function eraseFile(path: string): Promise<void> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    const { size } = await file.stat();
    await file.write(Buffer.alloc(size), 0, size, 0);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rm(path, { force: true });
}

export function flushFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
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
    await replaceFile(path, key, true);
  }
  if (key.length !== KEY_BYTES) throw new Error(`${path} is not a key of ${KEY_BYTES} bytes`);
  return key;
}
