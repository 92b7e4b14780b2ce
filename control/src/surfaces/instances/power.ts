// SPDX-License-Identifier: Apache-2.0
/**
 * Stop, start, restart: each records a wish in one statement and sends it. Repeating one that is fulfilled changes nothing and is answered
 * the same. `status` stays `ready`: strict clients know five of them.
 *
 *  A. From the statement on that stops it nothing is counted, nobody is led to it and its token asks no model, also when its host is away.
 *  B. Whoever starts it is led to it when its machine has shown anew what it is (confirm.ts), as with the first start.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { restartInstance, startInstance, stopInstance } from "#contract/instances/power.ts";
import { retakeRoomClause } from "../../core/fleet/index.ts";
import { END_INSTANCE_TOKENS } from "../../core/identity/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { haltClause, type MachineRow, startClause } from "../../core/machines/index.ts";
import { refusalOf } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { CLOSE_PERIOD, closeLeftOpen } from "./periods.ts";
import { type InstanceRow, requireInstance } from "./rows.ts";
import { WISHED } from "./stages.ts";
import { viewInstance } from "./view.ts";

type Needs = Pick<Deps, "db" | "converger">;
/** Of whichever of the calls. */
export type Asked = { account: { id: string }; params: { name: string }; now: Date };
interface Done {
  machine: MachineRow | null;
}

export async function stop(deps: Needs, call: Call<typeof stopInstance>): Promise<Answer> {
  const instance = await requireReady(deps, call);
  const { rows } = await sql<Done>`
    with ${lockedClause(instance)},
    subject as (
      update instances i set power = 'stopping', ssh = null, ssh_said = null, failure_code = null, failure_message = null,
        version = i.version + 1
      from locked where i.machine_id = locked.id and i.status = 'ready' and i.power in ('running', 'starting')
      returning i.id, i.machine_id
    ),
    ${CLOSE_PERIOD}, ${END_INSTANCE_TOKENS},
    ${haltClause(sql`(select machine_id from subject)`)},
    ${journal(instance, "stopping")}
    ${RESULT}`.execute(deps.db.run);
  await closeLeftOpen(deps.db.run, instance.id);
  return answer(deps, call, rows[0]!);
}

export async function start(deps: Needs, call: Call<typeof startInstance>): Promise<Answer> {
  const instance = await requireReady(deps, call);
  return bringUp(deps, call, instance, { kind: "starting", when: sql`want = 'halted'` });
}

export async function restart(deps: Needs, call: Call<typeof restartInstance>): Promise<Answer> {
  const instance = await requireReady(deps, call);
  return bringUp(deps, call, instance, { kind: "restarting", when: sql`true` });
}

/** One that stands takes its room again; one that runs, or has not stopped yet, has it. */
async function bringUp(
  deps: Needs,
  call: Asked,
  instance: InstanceRow,
  { kind, when }: { kind: string; when: RawBuilder<unknown> },
): Promise<Answer> {
  const { rows } = await sql<Done>`
    with before as (
      select * from machines
      where id = ${instance.machine_id} and want <> 'down' and state not in ('ended', 'failed') and ${when} for update
    ),
    ${retakeRoomClause(sql`before`)},
    ${startClause(
      sql`(select id from before where holds_compute or exists (select from room))`,
      sql`(select count(*) from room) >= 0`,
    )},
    subject as (
      update instances i set power = 'starting', ssh = null, ssh_said = null, failure_code = null, failure_message = null,
        ${WISHED}, version = i.version + 1
      from machine where i.machine_id = machine.id and i.status = 'ready' returning i.id, i.machine_id
    ),
    ${CLOSE_PERIOD},
    ${journal(instance, kind)}
    ${RESULT},
      case when exists (select from before where not holds_compute) and not exists (select from room) then refuse('capacity') end`
    .execute(deps.db.run)
    .catch((error: unknown) => {
      if (refusalOf(error) === "capacity")
        throw new Fault("fleet.no-capacity", {}, { retryAfterSeconds: 30 });
      throw error;
    });
  return answer(deps, call, rows[0]!);
}

/** Its name leads to it, and it was ready once: what is being made or ended is not stopped. */
export async function requireReady({ db }: Pick<Needs, "db">, call: Asked): Promise<InstanceRow> {
  const row = await requireInstance(db.run, call.account.id, call.params.name);
  if (row.status !== "ready") throw new Fault("instance.not-ready", { status: row.status });
  return row;
}

/** Machines are locked before their instances, here as everywhere. */
const lockedClause = ({ machine_id }: InstanceRow): RawBuilder<unknown> =>
  sql`locked as (select id from machines where id = ${machine_id} for update)`;

const journal = ({ account_id, name }: InstanceRow, kind: string): RawBuilder<unknown> =>
  appendClauses(
    { account: account_id, type: `instance.${kind}`, subject: name, payload: {} },
    sql`exists (select from subject) and (select count(*) from machine) >= 0`,
  );

const RESULT = sql`select (select to_jsonb(machine) from machine) as machine, (select count(*) from entry)`;

async function answer({ db, converger }: Needs, call: Asked, { machine }: Done): Promise<Answer> {
  if (machine !== null) converger.send({ ...machine, expires_at: null }, call.now);
  const row = await requireInstance(db.run, call.account.id, call.params.name);
  return { status: 202, body: viewInstance(row) };
}
