// SPDX-License-Identifier: Apache-2.0
/**
 * The end of instances. Deleting is a wish in one statement: from then on it costs nothing, and its name is nobody's for 30 days.
 * Those that failed are ended by a turn of ours: what a host still has of one that nobody can log in to serves nobody.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { deleteInstance } from "#contract/instances/instances.ts";
import { END_INSTANCE_TOKENS } from "../../core/identity/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { type Converger, endClause, type MachineRow } from "../../core/machines/index.ts";
import type { Database } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { CLOSE_PERIOD, closeAllLeftOpen, closeLeftOpen } from "./periods.ts";
import { findInstance, type InstanceRow, requireInstance } from "./rows.ts";
import { FORGET_STATE_KEY } from "./state-key.ts";
import { viewInstance } from "./view.ts";

const BATCH = 100;

export async function remove(
  deps: Pick<Deps, "db" | "converger" | "feed" | "instances">,
  call: Call<typeof deleteInstance>,
): Promise<Answer> {
  const { db } = deps;
  const { id, account_id, machine_id, name } = await requireInstance(
    db.run,
    call.account.id,
    call.params.name,
  );
  const entry = { account: account_id, type: "instance.terminating", subject: name, payload: {} };
  const { rows } = await sql<{ machine: MachineRow | null }>`
    with locked as (
      select id from machines where id = ${machine_id} for update
    ),
    subject as (
      -- From now on nobody is led there.
      update instances i set status = 'terminating', terminated_reason = 'deleted_via_api', custom_inference_key_sealed = null, power = null,
        ssh = null, ssh_said = null, version = version + 1
      from locked where i.machine_id = locked.id and i.status in ('provisioning', 'ready', 'failed')
      returning i.id
    ),
    ${CLOSE_PERIOD}, ${END_INSTANCE_TOKENS}, ${FORGET_STATE_KEY},
    ${endClause(sql`(select machine_id from instances where id = (select id from subject))`, "api")},
    ${appendClauses(entry, sql`exists (select from subject) and (select count(*) from machine) >= 0`)}
    select (select to_jsonb(machine) from machine) as machine, (select count(*) from entry)`.execute(db.run);
  const machine = rows[0]!.machine;
  if (machine !== null) deps.converger.send({ ...machine, expires_at: null }, call.now);
  await closeLeftOpen(db.run, id);
  // One whose machine is over already waits for no host.
  await concludeEnded(db, id);
  const row = await settledRow(deps, { id, name }, call.signal);
  const shown = viewInstance(row);
  if (deps.instances.dialect.deleteBody === "final") return { status: 202, body: shown };
  const terminating = { status: "terminating", terminated_at: null } as const;
  return { status: 202, body: machine === null ? shown : { ...shown, ...terminating } };
}

/** Most are over in a moment, and then that is the answer. */
const FINAL_MS = 1_500;

async function settledRow(
  { db, feed, instances }: Pick<Deps, "db" | "feed" | "instances">,
  { id, name }: { id: string; name: string },
  signal: AbortSignal,
): Promise<InstanceRow> {
  const deadline = performance.now() + (instances.dialect.deleteBody === "final" ? FINAL_MS : 0);
  for (;;) {
    const row = await findInstance(db.run, id);
    if (row === null) throw new Fault("instance.not-found");
    const leftMs = deadline - performance.now();
    if (row.status === "terminated" || leftMs <= 0 || signal.aborted) return row;
    await feed.wait(name, Math.min(leftMs, 250), signal);
  }
}

/** One turn, on any replica. */
export async function instancesTurn({
  db,
  converger,
}: {
  db: Database;
  converger: Converger;
}): Promise<void> {
  await closeAllLeftOpen(db.run);
  const { rows } = await sql<{ machine_id: string }>`
    select i.machine_id from instances i join machines m on m.id = i.machine_id
    where i.status = 'failed' and m.want <> 'down' and m.state not in ('ended', 'failed') limit ${BATCH}`.execute(
    db.soft,
  );
  for (const { machine_id } of rows) {
    const { rows: ended } = await sql<MachineRow>`
      with ${endClause(sql`${machine_id}`, "recovery")} select * from machine`.execute(db.run);
    if (ended[0] !== undefined) converger.send({ ...ended[0], expires_at: null }, new Date());
  }
}

/** The database's statement of an end for which nobody's report will come. */
async function concludeEnded(db: Database, id: string): Promise<void> {
  await sql`
    with subject as (
      update instances i set status = 'terminated', power = null, terminated_at = coalesce(terminated_at, now()), ssh = null, version = version + 1
      from machines m where i.id = ${id} and m.id = i.machine_id and i.status = 'terminating' and m.state in ('ended', 'failed')
      returning i.id, i.account_id, i.name
    )
    update instance_names n set held_until = now() + interval '30 days'
    from subject where n.account_id = subject.account_id and n.name = subject.name and n.instance_id = subject.id`.execute(
    db.run,
  );
}
