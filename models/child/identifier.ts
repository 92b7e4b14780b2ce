// SPDX-License-Identifier: Apache-2.0
/** Formats that are flat buffers carry the identifier of their kind at byte 4. */
import { closeSync, openSync, readSync } from "node:fs";

function identifier(path: string): string {
  const head = Buffer.alloc(8);
  const file = openSync(path, "r");
  try {
    readSync(file, head, 0, 8, 0);
  } finally {
    closeSync(file);
  }
  return head.toString("latin1", 4);
}

export const isOrt = (path: string) => identifier(path) === "ORTM";
export const isTflite = (path: string) => identifier(path) === "TFL3";
