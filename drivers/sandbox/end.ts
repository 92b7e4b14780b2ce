// SPDX-License-Identifier: Apache-2.0
/**
 * Ends a sandbox and measures. The order is what makes each claim mean something:
 *  A. Kill process 1; the kernel then kills all of its pid namespace, and bubblewrap outside ends only
 *     when that is done. From here the files hold still. Meanwhile the prober begins to watch the tmpfs.
 *  B. Clear and read back, through descriptors: the mounts are gone by now.
 *  C. Let go of the tmpfs, and of the mount namespace in which they are, and remove the cgroups. The prober
 *     watches since A: when nothing else held them, the kernel ends them here, frees the memory and says so.
 *  D. Scan while our descriptors still hold the other namespaces' inodes, so that whatever is found under them
 *     is this machine's and nobody else's. A tmpfs that was not ended is held by whoever is looked for,
 *     so its device number is as good. Where nothing can be watched we hold the tmpfs too until then.
 */
import { processesIn } from "./cgroups.ts";
import { type Seen, timed } from "./facts.ts";
import { closeAll, type Sandbox } from "./machine.ts";
import type { Prober } from "./prober/client.ts";
import type { ScanQuestion, Watched } from "./prober/question.ts";
import { isAlive, startTime } from "./process-table.ts";
import type { SandboxRecord, StartedFacts } from "./record.ts";
import { removeFolders } from "./start.ts";
import { type Wiped, wipeTree } from "./wipe.ts";

const ANSWER_MS = 1000;
const ORPHAN_MS = 5000;

export interface Traces {
  folders: string[];
  logs: string[];
}

export function scanQuestion(
  machineId: string,
  record: SandboxRecord,
  held: { fds: number[]; watched: Watched | null; canarySinceMs: number | null },
  traces: Traces,
): ScanQuestion {
  return {
    kind: "scan",
    names: [machineId, ...(record.madeAs === undefined ? [] : [record.madeAs])],
    namespaces: { ...record.started?.namespaces },
    devices: record.started?.mounts.map(({ device }) => device) ?? [],
    watched: held.watched,
    held: { pid: process.pid, fds: held.fds },
    ownerUid: null,
    cgroups: record.cgroups,
    canaryHex: record.canaryHex,
    canarySinceMs: held.canarySinceMs,
    ...traces,
  };
}

export interface Released {
  uidReleased: boolean | null;
  /** How many of the driver's places the machine held before and does not hold after. */
  slotsReleased: number;
  lookupAbsent: boolean;
}

export interface Ending {
  prober: Prober;
  traces: Traces;
  oom: boolean;
  /** Gives back the uid and takes the machine off the driver's list; answers whether it is gone from there. */
  release(): Released;
  /** Device numbers that living machines have. */
  devicesInUse(): ReadonlySet<string>;
}

export async function endSandbox(sandbox: Sandbox, ending: Ending): Promise<Seen> {
  const { record, started } = sandbox;
  const from = performance.now();
  const tmpfs = { pid: process.pid, fds: sandbox.mounts.map(({ fd }) => fd) };
  const watching = ending.prober.ask({ kind: "watch", ...tmpfs }).catch(() => ({ watched: null }));
  const [emptyAfterMs, killed] = await timed(async () => {
    // The launcher's unreaped child is the parent of process 1, but process 1 is not ours: check it is still the one.
    if (startTime(started.pid) === started.pidStart) {
      try {
        process.kill(started.pid, "SIGKILL");
      } catch {}
    }
    // Entries first: the namespace is empty only when each of its tasks has been waited for, and a
    // command is waited for by its entry.
    await endWork(sandbox);
    const late = setTimeout(() => sandbox.monitor.kill(), 5000);
    if (!(await sandbox.monitor.gone)) await firstEnded(started);
    clearTimeout(late);
    return Math.round(performance.now() - from);
  });

  const [{ wiped, readBack }, wiping] = await timed(async () => {
    const wiped: Wiped[] = [];
    for (const fd of tmpfs.fds) wiped.push(await wipeTree(fd));
    const question = { kind: "read-back" as const, ...tmpfs, canaryHex: record.canaryHex };
    const readBack = await ending.prober.ask(question).catch(() => null);
    return { wiped, readBack };
  });

  const { mnt, ...others } = sandbox.namespaces;
  const holders = [...tmpfs.fds, ...(mnt === undefined ? [] : [mnt])];
  const namespaceFds = Object.values(others);
  const { watched } = await watching;
  if (watched) closeAll(holders.splice(0));

  const [released, releasing] = await timed(async () => {
    const cgroupRemoved = record.cgroups.length === 0 ? null : await removeFolders(record.cgroups);
    return { cgroupRemoved, ...ending.release() };
  });

  const [scan, scanning] = await timed(() => {
    const held = { fds: [...namespaceFds, ...holders], watched, canarySinceMs: sandbox.canarySinceMs };
    const question = scanQuestion(sandbox.machineId, record, held, ending.traces);
    return ending.prober.ask(question).catch((error) => {
      if (watched === null) throw error;
      return ending.prober.ask(unwatched(question, ending.devicesInUse()));
    });
  });
  closeAll([...namespaceFds, ...holders]);
  return {
    record,
    killMethod: "SIGKILL to process 1 of the pid namespace",
    emptyAfterMs,
    killed,
    wiped,
    wiping,
    readBack,
    scan,
    scanning,
    ...released,
    releasing,
    oom: ending.oom,
    recovered: false,
  };
}

/**
 * The prober that watched has died, and we hold nothing any more. A number that a living machine of
 * ours has by now had been freed, so leaving it out hides nothing. The mount namespace's own number
 * says nothing without its mounts, and those are looked for.
 */
function unwatched(question: ScanQuestion, inUse: ReadonlySet<string>): ScanQuestion {
  const { mnt: _, ...namespaces } = question.namespaces;
  const devices = question.devices.filter((device) => !inUse.has(device));
  return { ...question, watched: null, namespaces, devices };
}

/**
 * Lets what was under way come to its answer. A reader that stopped reading, or a sender that stopped
 * sending, must not keep the machine from being ended: its entry is killed and no longer waited for.
 */
async function endWork({ work, entries }: Sandbox): Promise<void> {
  let late: NodeJS.Timeout | undefined;
  const deadline = new Promise((resolve) => {
    late = setTimeout(resolve, ANSWER_MS);
  });
  await Promise.race([Promise.allSettled(work), deadline]);
  clearTimeout(late);
  for (const entry of entries) {
    entry.kill();
    // What a stopped reader left unread would keep a command from counting as ended.
    for (const stream of entry.stdio) stream.destroy();
  }
}

/**
 * For a machine whose launcher died: nobody waits for its processes then. Process 1 is a zombie or
 * gone only when the kernel has ended everything else in its pid namespace.
 */
async function firstEnded(started: StartedFacts): Promise<void> {
  const deadline = performance.now() + ORPHAN_MS;
  while (isAlive(started) && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 2));
}

/** Processes still in a machine's folders, once each. */
export const leftIn = (paths: readonly string[]) => new Set(paths.flatMap(processesIn));
