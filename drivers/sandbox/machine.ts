// SPDX-License-Identifier: Apache-2.0
/**
 * One live sandbox as the driver holds it. The descriptors are the point: the namespace descriptors
 * let commands in without trusting a pid, and a directory descriptor on each tmpfs keeps its contents
 * reachable (through /proc/self/fd) after the last process died — that is the moment at which they
 * can be cleared with nobody changing them. Holding both also keeps inode and device numbers from
 * being given to somebody else while the probes look for them.
 */
import { closeSync } from "node:fs";
import type { MachineCgroups } from "./cgroups.ts";
import type { EntryProcess, Monitor } from "./launcher.ts";
import type { MountFacts, NamespaceKind, SandboxRecord, StartedFacts } from "./record.ts";

export interface HeldMount extends MountFacts {
  /** Directory descriptor on the root of the tmpfs. */
  fd: number;
}

export interface Sandbox {
  machineId: string;
  record: SandboxRecord;
  started: StartedFacts;
  cgroups: MachineCgroups;
  monitor: Monitor;
  namespaces: Partial<Record<NamespaceKind, number>>;
  mounts: HeldMount[];
  /** Commands and file transfers under way; each settles when its host side has ended. */
  work: Set<Promise<unknown>>;
  /** Their entry programs, to be ended when whoever reads from or writes to one does not go on. */
  entries: Set<EntryProcess>;
  commands: number;
  oomKillsSeen: number;
  /** When its canary was made, wall clock. */
  canarySinceMs: number;
  memoryMiB: number;
  pidsMax: number;
}

export function keepEntry({ entries }: Sandbox, entry: EntryProcess): void {
  entries.add(entry);
  entry.stdio[4].once("close", () => entries.delete(entry));
}

export function closeAll(fds: Iterable<number>): void {
  for (const fd of fds) {
    try {
      closeSync(fd);
    } catch {}
  }
}
