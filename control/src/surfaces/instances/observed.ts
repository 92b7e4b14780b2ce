// SPDX-License-Identifier: Apache-2.0
/** What an instance's machine is doing: asked of its host, which is believed about nothing that matters. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type {
  instanceAttestation,
  instanceEvents,
  instanceLogs,
  instanceMetrics,
} from "#contract/instances/observed.ts";
import type { MachineStats } from "#contract/link/kept.ts";
import { hostIsTrusted } from "../../core/attestation/index.ts";
import { askHost, followLines, readLines } from "../../core/fleet/index.ts";
import { findCheckpoint } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { followEvents, lastEventId } from "../../http/event-stream.ts";
import type { Deps } from "./deps.ts";
import { launchOf } from "./launch.ts";
import { requireInstance } from "./rows.ts";
import { shownIsolation } from "./view.ts";

const LINES = 100;
const VERDICTS_MAX = 20;
const HOST_TRUSTED =
  "Nothing vouches for this machine but its host: the host is trusted, and whoever runs it can see into the machine and answer in its place.";
const OVER = new Set(["instance.terminated"]);

export async function events(
  { db, feed }: Pick<Deps, "db" | "feed">,
  call: Call<typeof instanceEvents>,
): Promise<Answer> {
  const account = call.account.id;
  const { name, created_at } = await requireInstance(db.soft, account, call.params.name);
  const resumed = lastEventId(call.headers);
  const from = resumed ?? 0;
  const pruned = (await findCheckpoint(db, account))?.seq ?? 0;
  if (resumed !== undefined && from < pruned) throw new Fault("session.gone-events", { oldest: pruned + 1 });
  const events = followEvents(
    {
      // Of one that had the name before, nothing.
      read: async (seq, limit) =>
        (await feed.after(account, name, seq, limit)).filter(({ at }) => at >= created_at),
      more: (timeoutMs, signal) => feed.wait(name, timeoutMs, signal),
      show: ({ type, at, payload }) => ({
        event: type,
        data: { at: `${at.toISOString().slice(0, 19)}Z`, ...(payload as object) },
      }),
      isLast: ({ type }) => OVER.has(type),
      isOver: async () => (await requireInstance(db.soft, account, name)).status === "terminated",
    },
    from,
    call.signal,
  );
  return { status: 200, events };
}

export async function logs(
  { db, fleet }: Pick<Deps, "db" | "fleet">,
  call: Call<typeof instanceLogs>,
): Promise<Answer> {
  const { machine_id: machineId, host_id } = await requireInstance(
    db.soft,
    call.account.id,
    call.params.name,
  );
  const { tail: linesMax = LINES, follow = "0" } = call.query;
  const stream = fleet.open(host_id ?? "", {
    ...{ kind: "logs", machineId, container: null, stream: "both", tail: true, linesMax },
    ...{ follow: follow === "1", timestamps: false },
  });
  call.signal.addEventListener("abort", () => stream.cancel());
  if (follow === "1") return { status: 200, events: followLines(stream) };
  return { status: 200, body: { lines: await readLines(stream) } };
}

export async function metrics(
  { db, fleet }: Pick<Deps, "db" | "fleet">,
  call: Call<typeof instanceMetrics>,
): Promise<Answer> {
  const { machine_id: machineId, host_id } = await requireInstance(
    db.soft,
    call.account.id,
    call.params.name,
  );
  const { memory, cpus, disks } = await askHost<MachineStats>(fleet, host_id, { kind: "stats", machineId });
  return {
    status: 200,
    body: {
      memory: { total_bytes: memory.totalBytes, used_bytes: memory.usedBytes },
      cpus: cpus.map(({ name, usage }) => ({ name, usage_percent: usage })),
      disks: disks.map(({ name, mountPoint, filesystem, sizeBytes, usedBytes }) => ({
        ...{ name, mount_point: mountPoint, filesystem, size_bytes: sizeBytes, used_bytes: usedBytes },
      })),
    },
  };
}

interface VerdictRow {
  id: string;
  purpose: string;
  platform: string | null;
  accepted: boolean;
  hardware: boolean;
  steps: object[];
  created_at: Date;
}

export async function attestation(
  { db }: Pick<Deps, "db">,
  call: Call<typeof instanceAttestation>,
): Promise<Answer> {
  const instance = await requireInstance(db.soft, call.account.id, call.params.name);
  const { rows } = await sql<VerdictRow>`
    select id, purpose, platform, accepted, hardware, steps, created_at from attestations
    where instance_id = ${instance.id} order by created_at desc, id desc limit ${VERDICTS_MAX}`.execute(
    db.soft,
  );
  return {
    status: 200,
    body: {
      isolation: shownIsolation(instance.isolation),
      note: hostIsTrusted(instance.isolation) ? HOST_TRUSTED : null,
      hardware: rows[0]?.hardware ?? false,
      image_sha256: instance.image_sha256,
      launch_sha256: launchOf(instance).sha256,
      verdicts: rows.map(({ created_at, ...verdict }) => ({
        ...verdict,
        created_at: `${created_at.toISOString().slice(0, 19)}Z`,
      })),
    },
  };
}
