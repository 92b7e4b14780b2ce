// SPDX-License-Identifier: Apache-2.0
/**
 * What the host must still know of its kept machines after it was killed: one small file each, with
 * no secret in it. The last wish is kept as well, so that a host without its control starts nothing
 * that was halted and leaves alone what runs.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Desired } from "#contract/link/machine.ts";
import type { KeptRecord } from "#drivers/kept-driver.ts";
import { replaceFile, TEMPORARY } from "../durable-file.ts";

export interface KeptEntry {
  desired: Desired;
  /** The incarnation that was last brought up, and whether it has been seen running since. */
  applied: { incarnation: number; state: "running" | "halted" } | null;
  record: KeptRecord | null;
  /** Service → the image that was last told of. */
  images?: Record<string, string>;
}

const SUFFIX = ".kept";

export class KeptStore {
  readonly entries = new Map<string, KeptEntry>();
  /** Files that could not be read; kept aside for the operator. */
  readonly unreadable: string[] = [];
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder).sort()) {
      const path = join(folder, name);
      if (name.endsWith(TEMPORARY)) rmSync(path, { force: true });
      if (!name.endsWith(SUFFIX)) continue;
      try {
        this.entries.set(name.slice(0, -SUFFIX.length), JSON.parse(readFileSync(path, "utf8")));
      } catch {
        this.unreadable.push(name);
      }
    }
  }

  /** Resolves when it is on disk under its name. */
  async put(machineId: string, entry: KeptEntry): Promise<void> {
    this.entries.set(machineId, entry);
    await replaceFile(this.#path(machineId), Buffer.from(JSON.stringify(entry)), "name");
  }

  drop(machineId: string): void {
    this.entries.delete(machineId);
    rmSync(this.#path(machineId), { force: true });
  }

  #path(machineId: string): string {
    if (!/^mach_[0-9a-f]{32}$/.test(machineId)) throw new TypeError("not a machine id");
    return join(this.#folder, machineId + SUFFIX);
  }
}
