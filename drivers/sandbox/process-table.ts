// SPDX-License-Identifier: Apache-2.0
/** Reading /proc. A process may vanish between any two reads; every function answers null for one that did. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export function tryRead(path: string): string | null {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return null;
  }
}

export function listPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => name.charCodeAt(0) <= 57 && /^\d+$/.test(name))
    .map(Number);
}

/** Start time in clock ticks since boot. The command may contain spaces and `)`, so fields count from the last `)`. */
export function startTime(pid: number): string | null {
  const stat = tryRead(`/proc/${pid}/stat`);
  return stat === null ? null : (stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null);
}

/** The process of this number and start time, and not only what nobody has waited for yet. */
export function isAlive({ pid, pidStart }: { pid: number; pidStart: string }): boolean {
  return startTime(pid) === pidStart && !statusFields(pid)?.get("State")?.startsWith("Z");
}

export function statusFields(pid: number): Map<string, string> | null {
  const status = tryRead(`/proc/${pid}/status`);
  if (status === null) return null;
  return new Map(
    status.split("\n").map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }),
  );
}

/** `mnt:[4026531840]` → "4026531840". */
export function namespaceInode(pid: number, kind: string): string | null {
  try {
    const link = readlinkSync(`/proc/${pid}/ns/${kind}`);
    return link.slice(link.indexOf("[") + 1, -1);
  } catch {
    return null;
  }
}

export interface MountLine {
  mountId: string;
  device: string;
  target: string;
  options: string;
}

export function mountLines(pid: number | "self"): MountLine[] | null {
  const text = tryRead(`/proc/${pid}/mountinfo`);
  if (text === null) return null;
  const lines: MountLine[] = [];
  for (const line of text.split("\n")) {
    const fields = line.split(" ");
    if (fields.length < 6) continue;
    lines.push({
      mountId: fields[0]!,
      device: fields[2]!,
      target: fields[4]!,
      options: `${fields[5]!};${line.slice(line.indexOf(" - ") + 3).split(" ")[2] ?? ""}`,
    });
  }
  return lines;
}

export const bootId = () => (tryRead("/proc/sys/kernel/random/boot_id") ?? "").trim();
