// SPDX-License-Identifier: Apache-2.0
/** A host's id: made once, kept in its state folder. Two hosts never share one, since each has a folder of its own. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "./durable-file.ts";

export async function ownId(stateFolder: string): Promise<string> {
  const path = join(stateFolder, "host.id");
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const id = `host_${randomBytes(16).toString("hex")}`;
    await replaceFile(path, Buffer.from(`${id}\n`), "name");
    return id;
  }
}
