// SPDX-License-Identifier: Apache-2.0
/**
 * Ends what an earlier process of this host left of a machine, from its record alone. bubblewrap dies
 * with the driver that started it and takes the sandbox along; but a machine killed in the middle of
 * its start may have lost that tie, and its cgroups always stay. Never by a bare pid: numbers are
 * reused, and after a reboot all of them mean something else.
 *
 * A process is the machine's when, in the boot of the record, one of these holds:
 *  A. it has the recorded pid and the recorded start time;
 *  B. it is in a cgroup folder of the machine;
 *  C. it has the machine's own uid, and no living machine was given that uid since;
 *  D. it carries the machine's mark. A session can fake the mark only on its own processes.
 */
import { leftIn, type Released, scanQuestion, type Traces } from "./end.ts";
import { type Seen, timed } from "./facts.ts";
import type { Prober } from "./prober/client.ts";
import type { ScanQuestion } from "./prober/question.ts";
import { bootId, listPids, startTime, statusFields, tryRead } from "./process-table.ts";
import type { SandboxRecord } from "./record.ts";
import { removeFolders } from "./start.ts";

const DEADLINE_MS = 10_000;
const UNHELD = { fds: [], watched: null, canarySinceMs: null };

/** Where a machine's processes carry its name: in the environment of process 1 and on bubblewrap's command line. */
export function markOf(pid: number): string | null {
  for (const file of ["environ", "cmdline"]) {
    const text = tryRead(`/proc/${pid}/${file}`) ?? "";
    const found = text.match(/(?:^|\0)CASEMATE_MACHINE[=\0]([^\0]+)/);
    if (found) return found[1]!;
  }
  return null;
}

/** What this driver's living machines hold now: a number found here was free when they took it. */
export interface InUse {
  uids: ReadonlySet<number>;
  namespaces: ReadonlySet<string>;
  devices: ReadonlySet<string>;
}

export function processesOf(mark: string, record: SandboxRecord | null, inUse: InUse): Set<number> {
  const found = leftIn(record?.cgroups ?? []);
  const { started, uid } = record ?? { started: null, uid: null };
  if (started && startTime(started.pid) === started.pidStart) found.add(started.pid);
  const own = uid !== null && !inUse.uids.has(uid) ? `${uid}\t` : null;
  for (const pid of listPids()) {
    if (found.has(pid) || pid === process.pid) continue;
    if (own !== null && statusFields(pid)?.get("Uid")?.startsWith(own)) found.add(pid);
    else if (markOf(pid) === mark) found.add(pid);
  }
  return found;
}

/** Kills until none is left; answers how long that took, or null when some would not go. */
export async function endProcesses(find: () => Set<number>): Promise<number | null> {
  const from = performance.now();
  while (performance.now() - from < DEADLINE_MS) {
    const left = [...find()].filter((pid) => !(statusFields(pid)?.get("State") ?? "Z").startsWith("Z"));
    if (left.length === 0) return Math.round(performance.now() - from);
    for (const pid of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {}
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return null;
}

export interface Recovery {
  mark: string;
  prober: Prober;
  traces: Traces;
  inUse: InUse;
  release(): Released;
}

export async function recoverSandbox(
  machineId: string,
  record: SandboxRecord,
  tools: Recovery,
): Promise<Seen> {
  const sameBoot = record.bootId === bootId();
  const [emptyAfterMs, killed] = await timed(async () =>
    sameBoot ? endProcesses(() => processesOf(tools.mark, record, tools.inUse)) : 0,
  );
  const [, wiping] = await timed(async () => {});
  const [released, releasing] = await timed(async () => ({
    cgroupRemoved: record.cgroups.length === 0 ? null : await removeFolders(record.cgroups),
    ...tools.release(),
  }));
  const [scan, scanning] = await timed(async () => {
    const whole = scanQuestion(machineId, record, UNHELD, tools.traces);
    const answer = await tools.prober.ask(narrow(whole, sameBoot, record.uid, tools.inUse));
    for (const device of whole.devices) {
      answer.mounts[device] ??= 0;
      answer.descriptors[device] ??= 0;
    }
    return answer;
  });
  return {
    record,
    killMethod: sameBoot
      ? "SIGKILL to every process of the uid, cgroups and mark"
      : "ended by a restart of the host",
    emptyAfterMs,
    killed,
    wiped: null,
    wiping,
    readBack: null,
    scan,
    scanning,
    ...released,
    releasing,
    oom: false,
    recovered: true,
  };
}

/**
 * Nobody held the recorded inodes and device numbers since the crash, and the kernel gives out the
 * lowest free ones, so they may be somebody else's: a container started since was seen as a mount of
 * the session. After a restart of the host all are; in the same boot those that a living machine of
 * ours holds — a number given away again had been freed, so leaving it out hides nothing. Of the rest
 * only what bears the machine's own uid counts. A task of root's that joined a namespace of the
 * machine before the crash is therefore not found here, as it is by `stop`.
 */
function narrow(
  question: ScanQuestion,
  sameBoot: boolean,
  ownerUid: number | null,
  inUse: InUse,
): ScanQuestion {
  if (!sameBoot) return { ...question, namespaces: {}, devices: [] };
  const namespaces = Object.entries(question.namespaces).filter(([, inode]) => !inUse.namespaces.has(inode));
  const devices = question.devices.filter((device) => !inUse.devices.has(device));
  return { ...question, namespaces: Object.fromEntries(namespaces), devices, ownerUid };
}
