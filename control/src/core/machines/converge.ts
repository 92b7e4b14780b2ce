// SPDX-License-Identifier: Apache-2.0
/**
 * Making wishes so. A verb sends its machine at once after its commit (`send`); the sweep exists for
 * the case that the process died in between, that a message was lost, or that the host is connected
 * to another replica. It is level-triggered: whatever is not settled is sent again, harmlessly. So are
 * hosts that a machine was taken off, until nothing of it is left there.
 */
import { sql } from "kysely";
import type { Database } from "../../database/open.ts";
import type { Fleet } from "../fleet/index.ts";
import { listLeaving } from "./leavings.ts";
import { type MachineRow, type MachineWish, toDesired } from "./machine.ts";
import { requestExpired } from "./request.ts";
import type { Watch } from "./watch.ts";

const CHANNEL = "casemate_desired";
const SWEEP_MS = 1000;
const EXPIRY_MS = 200;
const BATCH = 200;

export interface Converger {
  /** Sends one machine's desired state now, or tells the replica that holds its host. */
  send(machine: MachineWish, now: Date): void;
  stop(): Promise<void>;
}

export interface ConvergeDeps {
  db: Database;
  fleet: Fleet;
  watch: Watch;
  onError(error: unknown): void;
}

export async function startConverger({ db, fleet, onError }: ConvergeDeps): Promise<Converger> {
  const send = (machine: MachineWish, now: Date) => {
    if (machine.host_id === null) return;
    if (fleet.holds(machine.host_id)) fleet.send(machine.host_id, [toDesired(machine, now)]);
    else sql`select pg_notify(${CHANNEL}, ${machine.id})`.execute(db.soft).catch(onError);
  };

  await db.listen(CHANNEL, (id) => {
    sendUnsettled(db, fleet, id).catch(onError);
  });
  // A host that joins is told everything that is wanted of it, and ends what is not.
  fleet.onJoin(async (hostId) => {
    const { rows } = await sql<MachineRow & { now: Date }>`
      select *, now() as now from machines where host_id = ${hostId} and state not in ('ended', 'failed')`.execute(
      db.run,
    );
    const leaving = await listLeaving(db.run, [hostId]);
    return [...rows.map((row) => toDesired(row, row.now)), ...leaving.map(({ desired }) => desired)];
  });

  const stops = [
    every(SWEEP_MS, () => sendUnsettled(db, fleet, null), onError),
    every(SWEEP_MS, () => sendLeaving(db, fleet), onError),
    every(
      EXPIRY_MS,
      async () => {
        for (;;) {
          const ended = await requestExpired(db.run, BATCH);
          for (const machine of ended) send(machine, new Date());
          if (ended.length < BATCH) return;
        }
      },
      onError,
    ),
  ];
  return {
    send,
    stop: async () => {
      await Promise.all(stops.map((stop) => stop()));
    },
  };
}

async function sendUnsettled(db: Database, fleet: Fleet, id: string | null): Promise<void> {
  const hosts = fleet.held();
  if (hosts.length === 0) return;
  const { rows } = await sql<MachineWish & { now: Date }>`
    select id, host_id, want, generation, incarnation, spec, expires_at, end_trigger,
      disk_host_id, carry, now() as now from machines
    where state not in ('ended', 'failed') and observed_generation < generation
      and host_id = any(${hosts}) and (${id}::text is null or id = ${id})
    limit 1000`.execute(db.soft);
  for (const hostId of hosts) {
    const batch = rows.filter((row) => row.host_id === hostId).map((row) => toDesired(row, row.now));
    if (batch.length > 0) fleet.send(hostId, batch);
  }
}

async function sendLeaving(db: Database, fleet: Fleet): Promise<void> {
  const hosts = fleet.held();
  if (hosts.length === 0) return;
  for (const [hostId, left] of Map.groupBy(await listLeaving(db.soft, hosts), (each) => each.hostId))
    fleet.send(
      hostId,
      left.map(({ desired }) => desired),
    );
}

/** Runs `work` again `ms` after each end of it; the returned stop waits for the one under way. */
export function every(
  ms: number,
  work: () => Promise<unknown>,
  onError: (error: unknown) => void,
): () => Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  let stopped = false;
  const turn = () => {
    running = work()
      .then(() => {}, onError)
      .then(() => {
        if (!stopped) timer = setTimeout(turn, ms);
      });
  };
  timer = setTimeout(turn, ms);
  return () => {
    stopped = true;
    clearTimeout(timer);
    return running;
  };
}
