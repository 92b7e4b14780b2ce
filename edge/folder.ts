// SPDX-License-Identifier: Apache-2.0
/**
 * What the agent keeps: who it is, the last wish that ran well, and the artefacts of that wish. All of it
 * survives a power cut: a file is there whole or not at all. Samples that are to be told are beside it (unsent.ts).
 */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import type { Wish } from "./wish.ts";

export interface Identity {
  url: string;
  serverId: string;
  systemId: string;
  key: string;
  /** PEM; absent: those that the system trusts. */
  ca?: string;
}

export class Folder {
  readonly path: string;

  constructor(path: string) {
    this.path = resolve(path);
    mkdirSync(this.artifacts, { recursive: true, mode: 0o700 });
  }

  get artifacts(): string {
    return join(this.path, "artifacts");
  }

  /** Of samples that were not told yet. */
  get samples(): string {
    return join(this.path, "samples");
  }

  /** Made once: a registration whose answer was lost is repeated under the same id. */
  serverId(): string {
    const known = this.#read<{ serverId: string }>("server.json");
    if (known !== null) return known.serverId;
    const serverId = randomUUID();
    this.#write("server.json", { serverId });
    return serverId;
  }

  identity = (): Identity | null => this.#read<Identity>("identity.json");
  keepIdentity = (identity: Identity): void => this.#write("identity.json", identity);
  /** The last one that ran well: what to run while the control plane is away. */
  lastGood = (): Wish | null => this.#read<Wish>("wish.json");
  keepGood = (wish: Wish): void => this.#write("wish.json", wish);

  /** The first of so many numbers that were never taken here before, whatever happens next. */
  takeNumbers(count: number): number {
    const { next } = this.#read<{ next: number }>("numbers.json") ?? { next: 1 };
    this.#write("numbers.json", { next: next + count });
    return next;
  }

  artifactPath(sha256: string): string {
    // It names a file, and came from elsewhere.
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Error("an artefact has a digest that is none");
    return join(this.artifacts, sha256);
  }

  /** Removes what neither wish needs. */
  keepOnly(wishes: readonly Wish[]): void {
    const needed = new Set(wishes.flatMap(({ Manifest }) => Manifest.Artefacts.map(({ SHA256 }) => SHA256)));
    for (const name of readdirSync(this.artifacts))
      if (!needed.has(name.replace(/\.part$/, ""))) rmSync(join(this.artifacts, name), { force: true });
  }

  #read<T>(name: string): T | null {
    try {
      return JSON.parse(readFileSync(join(this.path, name), "utf8")) as T;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
  }

  #write(name: string, value: unknown): void {
    const path = join(this.path, name);
    writeFileSync(`${path}.new`, `${JSON.stringify(value)}\n`, { mode: 0o600, flush: true });
    renameSync(`${path}.new`, path);
    syncFolder(this.path);
  }
}

export function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}
