// SPDX-License-Identifier: Apache-2.0
/** What an installation has of the machine at one moment: counted from outside, by what the kernel shows. */
import { createHash } from "node:crypto";
import { globSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";

export interface Inventory {
  processes: number;
  /** Mount namespaces of its own, and mounts that name its folders in the one of `casemate up`: others mount there too. */
  mounts: number;
  cgroups: number;
  /** Files and folders of the state folder (the database and logs apart) and of the run folder. */
  files: number;
  /**
   * Open in every part but the database, which opens tables when it pleases: by program and by what is
   * open, numbers left out.
   */
  descriptors: Record<string, number>;
}

export function takeInventory(pid: number, state: string): Inventory {
  const tree = descendants(pid);
  const host = JSON.parse(readFileSync(join(state, "keys", "host.json"), "utf8")) as {
    sandboxFolder: string;
    stateFolder: string;
  };
  const folders = [realpathSync(state), realpathSync(host.sandboxFolder)];
  const lines = readFileSync(`/proc/${pid}/mountinfo`, "latin1").split("\n");
  const own = lines.filter((line) => folders.some((folder) => line.includes(folder)));
  const parts = tree.filter((each) => programOf(each) !== "postgres");
  const below = (folder: string) => globSync("**/*", { cwd: folder }).length;
  return {
    processes: parts.length,
    mounts: new Set(parts.map((each) => tryLink(`/proc/${each}/ns/mnt`))).size + own.length,
    cgroups: globSync(`/sys/fs/cgroup/**/${ownerOf(host.stateFolder)}/mach_*`).length,
    files: ["control", "host", "keys", "signer"].reduce(
      (sum, name) => sum + below(join(state, name)),
      below(host.sandboxFolder),
    ),
    descriptors: openOf(parts),
  };
}

/** The folder of its cgroups, as the host names it (host/main.ts). */
const ownerOf = (stateFolder: string) =>
  `cm-${createHash("sha256").update(realpathSync(stateFolder)).digest("hex").slice(0, 12)}`;

/** When two looks in a row are the same: what is made ahead of the next session is there by then. */
export async function takeRested(take: () => Inventory, forMs = 15_000): Promise<Inventory> {
  const deadline = performance.now() + forMs;
  for (let before = take(); ; ) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = take();
    if (JSON.stringify(now) === JSON.stringify(before) || performance.now() > deadline) return now;
    before = now;
  }
}

/** What is there now and was not before, by kind; empty when nothing. Things that went (an idle connection) are no loss. */
export function excess(before: Inventory, now: Inventory): string[] {
  const counted = ["processes", "mounts", "cgroups", "files"] as const;
  // By kind, so that a connection that was let go makes no room for a file that was not.
  const opened = Object.entries(now.descriptors).map(
    ([kind, count]) => [`descriptors (${kind})`, count - (before.descriptors[kind] ?? 0)] as const,
  );
  return [...counted.map((kind) => [kind, now[kind] - before[kind]] as const), ...opened]
    .filter(([, more]) => more > 0)
    .map(([kind, more]) => `${more} ${kind}`);
}

/** Looks again until nothing is in excess: a killed process stays in the tables for a moment. */
export async function settledExcess(
  before: Inventory,
  take: () => Inventory,
  forMs = 15_000,
): Promise<string[]> {
  const deadline = performance.now() + forMs;
  for (;;) {
    const found = excess(before, take());
    if (found.length === 0 || performance.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Proportional set size of a process and all below it, in MiB: shared pages count once. */
export function weighTree(pid: number): number {
  const kib = descendants(pid)
    .filter((each) => programOf(each) !== "postgres")
    .map((each) => Number(/^Pss:\s+(\d+)/m.exec(tryRead(`/proc/${each}/smaps_rollup`))?.[1] ?? 0));
  return kib.reduce((sum, each) => sum + each, 0) / 1024;
}

/** `pid` and everything started below it. */
export function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = tryRead(`/proc/${name}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found = [pid];
  for (let at = 0; at < found.length; at++) found.push(...(children.get(found[at]!) ?? []));
  return found;
}

function openOf(pids: readonly number[]): Record<string, number> {
  const open: Record<string, number> = {};
  for (const pid of pids) {
    const program = programOf(pid);
    for (const name of tryList(`/proc/${pid}/fd`)) {
      const kind = `${program} ${(tryLink(`/proc/${pid}/fd/${name}`) ?? "closing").replace(/\d+/g, "#")}`;
      open[kind] = (open[kind] ?? 0) + 1;
    }
  }
  return open;
}

const programOf = (pid: number) => basename(tryLink(`/proc/${pid}/exe`) ?? "");

function tryRead(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function tryLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function tryList(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
