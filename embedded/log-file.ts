// SPDX-License-Identifier: Apache-2.0
/** A part's log, bounded: so many files of so many bytes. A full disk loses log lines, never the service. */
import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs";

export interface LogFile {
  write(chunk: Uint8Array | string): void;
  close(): void;
}

export function openLogFile(
  path: string,
  { bytesMax, filesMax }: { bytesMax: number; filesMax: number },
): LogFile {
  let fd: number | null = null;
  let size = 0;
  const open = () => {
    fd = openSync(path, "a", 0o640);
    size = fstatSync(fd).size;
  };
  const rotate = () => {
    if (fd !== null) closeSync(fd);
    fd = null;
    rmSync(`${path}.${filesMax - 1}`, { force: true });
    for (let n = filesMax - 2; n >= 1; n--) {
      try {
        renameSync(`${path}.${n}`, `${path}.${n + 1}`);
      } catch {
        // There are not that many yet.
      }
    }
    renameSync(path, `${path}.1`);
  };
  return {
    write(chunk) {
      try {
        if (fd === null) open();
        size += writeSync(fd!, typeof chunk === "string" ? Buffer.from(chunk) : chunk);
        if (size >= bytesMax) rotate();
      } catch {
        // The disk is full or the folder gone: the next line tries again.
      }
    },
    close() {
      if (fd !== null) closeSync(fd);
      fd = null;
    },
  };
}
