// SPDX-License-Identifier: Apache-2.0
/** What the kernel says of a process, and finding processes by their command line. */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessStatus {
  pid: number;
  /** One letter: R, S, Z … */
  state: string;
  uids: number[];
  gids: number[];
  groups: number[];
  /** The five capability sets, as hex. */
  capabilities: Record<"Inh" | "Prm" | "Eff" | "Bnd" | "Amb", string>;
  noNewPrivs: boolean;
}

export function statusOf(pid: number): ProcessStatus {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(text)?.[1] ?? "";
  const numbers = (name: string) =>
    field(name)
      .split(/\s+/)
      .filter((part) => part !== "")
      .map(Number);
  return {
    pid,
    state: field("State").slice(0, 1),
    uids: numbers("Uid"),
    gids: numbers("Gid"),
    groups: numbers("Groups"),
    capabilities: {
      Inh: field("CapInh"),
      Prm: field("CapPrm"),
      Eff: field("CapEff"),
      Bnd: field("CapBnd"),
      Amb: field("CapAmb"),
    },
    noNewPrivs: field("NoNewPrivs") === "1",
  };
}

/** Processes whose command line holds every one of the texts and whose program is not a wrapper of it. */
export function findProcesses(...texts: string[]): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const line = commandLine(pid);
      return !/^[^\0]*(bwrap|setpriv)\0/.test(line) && texts.every((text) => line.includes(text));
    });
}

export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
