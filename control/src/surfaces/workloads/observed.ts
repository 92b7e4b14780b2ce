// SPDX-License-Identifier: Apache-2.0
/** What is asked of the host about a running workload: containers, figures, logs. */
import { Fault, isErrorCode } from "#contract/errors.ts";
import type { ContainerFacts, MachineStats } from "#contract/link/kept.ts";
import type { StreamRequest } from "#contract/link/machine.ts";
import type {
  containerLogs,
  listContainers,
  workloadLogs,
  workloadStats,
} from "#contract/workloads/workloads.ts";
import type { LinkStream } from "#link/port.ts";
import type { Answer, Call, ServerEvent } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireWorkload, type WorkloadRow } from "./rows.ts";

type Needs = Pick<Deps, "db" | "fleet">;
const LINES = 1000;

export async function containers(deps: Needs, call: Call<typeof listContainers>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  const body = await ask<ContainerFacts[]>(deps, workload, {
    kind: "containers",
    machineId: workload.machine_id,
  });
  return { status: 200, body };
}

export async function stats(deps: Needs, call: Call<typeof workloadStats>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  const { memory, cpus, disks } = await ask<MachineStats>(deps, workload, {
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
  if (follow) return { status: 200, events: followed(stream) };
  const all: string[] = [];
  for await (const line of linesOf(stream)) all.push(line);
  await concluded(stream);
  return { status: 200, body: { lines: all } };
}

async function* followed(stream: LinkStream): AsyncGenerator<ServerEvent> {
  try {
    for await (const line of linesOf(stream)) yield { event: "line", data: { line } };
    const end = await stream.ended;
    yield { event: "end", data: end.kind === "failed" ? { code: end.code } : {} };
  } finally {
    stream.cancel();
  }
}

async function* linesOf(stream: LinkStream): AsyncGenerator<string> {
  // A line of many bytes may come in pieces, and a character in two of them.
  const decoder = new TextDecoder();
  let rest = "";
  for await (const { bytes } of stream.chunks()) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}

async function ask<T>(deps: Needs, workload: WorkloadRow, request: StreamRequest): Promise<T> {
  const stream = deps.fleet.open(workload.host_id ?? "", request);
  stream.finish();
  for await (const _ of stream.chunks());
  return (await concluded(stream)) as T;
}

async function concluded(stream: LinkStream): Promise<unknown> {
  const end = await stream.ended;
  if (end.kind === "done") return end.trailer;
  if (end.kind === "failed")
    throw new Fault(isErrorCode(end.code) ? end.code : "host.away", { detail: end.detail });
  throw new Fault("link.lost");
}
