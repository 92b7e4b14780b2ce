// SPDX-License-Identifier: Apache-2.0
/**
 * What the driver itself keeps of a machine, on disk and without a secret: what it was made from, and its
 * own log. A machine is there from its note to the removal of its note, also while nothing of it runs.
 */
import { EventEmitter } from "node:events";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Limits } from "./cgroup-parent.ts";
import { MACHINE_ID } from "./marks.ts";

const LOG_BYTES_MAX = 512 * 1024;
const LINE_CHARACTERS_MAX = 4_000;

export interface MachineNote {
  v: 1;
  /** `starting` until `start` resolved: what is found so after a kill is half a machine. */
  phase: "starting" | "running" | "halted";
  bridges: string[];
  limits: Limits;
  diskMiB: number | null;
  publicService: string;
  publicPort: number;
  /** The host's port that was given to it; nobody else gets it while there is this note. */
  hostPort?: number;
}

export interface LogEntry {
  time: string;
  text: string;
}

export class Notes<Note extends object = MachineNote> {
  readonly #folder: string;
  readonly #written = new EventEmitter<Record<string, [LogEntry]>>();

  constructor(folder: string) {
    this.#folder = join(folder, "machines");
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#written.setMaxListeners(0);
  }

  read(machineId: string): Note | null {
    try {
      return JSON.parse(readFileSync(this.#path(machineId, "json"), "utf8"));
    } catch {
      return null;
    }
  }

  write(machineId: string, note: Note): void {
    const path = this.#path(machineId, "json");
    writeFileSync(`${path}.new`, JSON.stringify(note), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  remove(machineId: string): void {
    for (const kind of ["json", "json.new", "log", "log.old"])
      rmSync(this.#path(machineId, kind), { force: true });
  }

  list(): string[] {
    return [...new Set(readdirSync(this.#folder).map((name) => name.split(".")[0]!))].filter((id) =>
      MACHINE_ID.test(id),
    );
  }

  /** The machine's own log: two files in turn, so that the last half is always there. */
  log(machineId: string, text: string): void {
    this.logAll(machineId, text.split("\n"));
  }

  /** Written at once: a guest decides how many lines there are. */
  logAll(machineId: string, lines: readonly string[]): void {
    const path = this.#path(machineId, "log");
    const time = new Date().toISOString();
    const entries = lines.map((line): LogEntry => ({ time, text: line.slice(0, LINE_CHARACTERS_MAX) }));
    const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join("");
    appendFileSync(path, text, { mode: 0o600 });
    for (const entry of entries) this.#written.emit(machineId, entry);
    if (statSync(path).size > LOG_BYTES_MAX / 2) renameSync(path, this.#path(machineId, "log.old"));
  }

  readLog(machineId: string): LogEntry[] {
    return ["log.old", "log"].flatMap((kind) => {
      try {
        const lines = readFileSync(this.#path(machineId, kind), "utf8").split("\n");
        return lines.filter((line) => line !== "").map((line): LogEntry => JSON.parse(line));
      } catch {
        return [];
      }
    });
  }

  onLog(machineId: string, listener: (entry: LogEntry) => void): () => void {
    this.#written.on(machineId, listener);
    return () => this.#written.off(machineId, listener);
  }

  #path(machineId: string, kind: string): string {
    if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
    return join(this.#folder, `${machineId}.${kind}`);
  }
}
