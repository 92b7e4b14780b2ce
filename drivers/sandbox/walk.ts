// SPDX-License-Identifier: Apache-2.0
/**
 * Walks every regular file below a directory descriptor, for a tree that was made by an attacker and
 * holds still now: folders nested deeper than any path can name, links that lead out, permissions
 * taken away.
 *  A. Nothing is opened by more than one of the attacker's names at a time, and never through a link.
 *  B. One descriptor is open whatever the depth: down by name, up by `..`, which in a tree that holds
 *     still is where we came from. (Moving deep folders up to the root was tried: the host's root has
 *     no uid in the user namespace that owns the tmpfs, and may not make names there.)
 */
import { chmodSync, closeSync, constants, openSync, readdirSync } from "node:fs";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Yields a path for each file, good until the next one is asked for. `unreadable` is told of folders passed over. */
export function* walkFiles(root: string, unreadable: (reason: string) => void): Generator<Buffer> {
  let fd = openSync(`${root}/.`, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const waiting: Buffer[][] = [yield* listFolder(fd)];
    while (waiting.length > 0) {
      const name = waiting.at(-1)!.pop();
      if (name === undefined) {
        waiting.pop();
        if (waiting.length > 0) fd = change(fd, Buffer.from(".."));
        continue;
      }
      try {
        makeReachable(below(fd, name));
        fd = change(fd, name);
      } catch (error) {
        unreadable((error as Error).message);
        continue;
      }
      waiting.push(yield* listFolder(fd));
    }
  } finally {
    closeSync(fd);
  }
}

function* listFolder(fd: number): Generator<Buffer, Buffer[]> {
  const folders: Buffer[] = [];
  for (const entry of readdirSync(Buffer.from(`/proc/self/fd/${fd}`), {
    encoding: "buffer",
    withFileTypes: true,
  })) {
    if (entry.isDirectory()) folders.push(entry.name);
    else if (entry.isFile()) yield below(fd, entry.name);
  }
  return folders;
}

function change(fd: number, name: Buffer): number {
  const next = openSync(below(fd, name), FOLDER);
  closeSync(fd);
  return next;
}

const below = (fd: number, name: Buffer) => Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);

/** Root needs no permission bits; a driver without root has the session's own uid, which may set them. */
export function makeReachable(path: Buffer): void {
  if (process.getuid?.() !== 0) {
    try {
      chmodSync(path, 0o700);
    } catch {}
  }
}
