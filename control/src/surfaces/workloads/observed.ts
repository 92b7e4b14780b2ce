// SPDX-License-Identifier: Apache-2.0
/** What is asked of the host about a running workload: containers, figures, logs. */
import type { ContainerFacts, MachineStats } from "#contract/link/kept.ts";
import type {
  containerLogs,
  listContainers,
  workloadLogs,
  workloadStats,
} from "#contract/workloads/workloads.ts";
import { askHost, followLines, readLines } from "../../core/fleet/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireWorkload } from "./rows.ts";

type Needs = Pick<Deps, "db" | "fleet">;
const LINES = 1000;

export async function containers(deps: Needs, call: Call<typeof listContainers>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  const body = await askHost<ContainerFacts[]>(deps.fleet, workload.host_id, {
    kind: "containers",
    machineId: workload.machine_id,
  });
  return { status: 200, body };
}

export async function stats(deps: Needs, call: Call<typeof workloadStats>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  const { memory, cpus, disks } = await askHost<MachineStats>(deps.fleet, workload.host_id, {
    kind: "stats",
    machineId: workload.machine_id,
  });
  return {
    status: 200,
    body: {
      memory: { total: memory.totalBytes, used: memory.usedBytes },
      cpus: cpus.map(({ name, usage, frequencyMhz }) => ({ name, usage, frequency: frequencyMhz })),
      disks: disks.map(({ sizeBytes, usedBytes, ...disk }) => ({
        ...disk,
        size: sizeBytes,
        used: usedBytes,
      })),
    },
  };
}

export const logs = (deps: Needs, call: Call<typeof workloadLogs>): Promise<Answer> =>
  lines(deps, call, { container: null, stream: "both" });
export const logsOfContainer = (deps: Needs, call: Call<typeof containerLogs>): Promise<Answer> =>
  lines(deps, call, { container: call.body.container, stream: call.body.stream ?? "both" });

async function lines(
  deps: Needs,
  call: Call<typeof workloadLogs> | Call<typeof containerLogs>,
  of: { container: string | null; stream: "stdout" | "stderr" | "both" },
): Promise<Answer> {
  const { workloadId, tail = true, maxLines = LINES, since, timestamps = false } = call.body;
  const workload = await requireWorkload(deps.db.soft, call.account.id, workloadId);
  const follow = call.query.follow === "1";
  const stream = deps.fleet.open(workload.host_id ?? "", {
    ...{ kind: "logs", machineId: workload.machine_id, ...of, tail, linesMax: maxLines, follow, timestamps },
    ...(since === undefined ? {} : { since }),
  });
  call.signal.addEventListener("abort", () => stream.cancel());
  if (follow) return { status: 200, events: followLines(stream) };
  return { status: 200, body: { lines: await readLines(stream) } };
}
