// SPDX-License-Identifier: Apache-2.0
/**
 * What the database still holds of a session when its sandbox is gone, counted for the proof (step 6).
 * Control keeps no command, input, output or file. This is not taken from that sentence but looked for, in
 * every row that is about the session and has a column wide enough for one: entries of its journal, which
 * events and webhooks are made of, answers kept for Idempotency-Key, jobs of deliveries, and the machine's fault.
 *
 *  A. A row is innocent only if all it says are words and numbers under names that are known here. Whoever
 *     writes more into one of these rows, be it one output, makes every proof say so.
 *  B. A host is told of machines that it was given, and of no others: the counts of a stranger's are none of
 *     its business.
 *  C. What was deleted or written over lies in the database's files until they are used again, and in its
 *     log and backups. That is not searched.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Residues } from "#contract/link/residues.ts";
import { createSession } from "#contract/sessions/create.ts";
import { Session } from "#contract/sessions/vocabulary.ts";
import { membersOf } from "../../core/events/index.ts";
import { countMachineKeys } from "../../core/identity/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import { countForeignJobs } from "../../core/webhooks/index.ts";
import type { Db } from "../../database/open.ts";
import { listKept } from "../../http/idempotency.ts";

/** A flat object of words and numbers under these names, as JSON or as the database prints it. */
const plain = (names: readonly string[]): string => {
  const word = String.raw`"(\\"|[A-Za-z0-9_.:/-]){0,80}"`;
  const member = `"(${names.join("|")})": ?(true|false|null|-?[0-9]{1,16}|${word})`;
  return `^\\{(${member}(, ?|(?=\\})))*\\}$`;
};

const JOURNALLED = plain(membersOf("session."));
const ANSWERED = new RegExp(plain(Object.keys(Session.properties)));
const HEADERS = new RegExp(plain(["etag", "location"]));

interface Counted {
  session: string;
  account: string;
  created_at: Date;
  rows: number;
}

interface Deps {
  db: Db;
  vault: Vault;
}

export async function findResidues(deps: Deps, hostId: string, machineId: string): Promise<Residues> {
  const { db } = deps;
  const { rows } = await sql<Counted>`
    with it as (
      select s.id, s.account_id, s.created_at, m.fault
      from machines m join sessions s on s.machine_id = m.id
      where m.id = ${machineId} and m.host_id = ${hostId}
    ), suspect as (
      select from it where fault is not null
      union all
      select from it join journal j on j.subject = it.id
      where j.payload::text !~ ${JOURNALLED}
    )
    select id as session, account_id as account, created_at, (select count(*) from suspect)::int as rows
    from it`.execute(db);
  const [counted] = rows;
  if (counted === undefined) throw new Fault("machine.unknown");
  const [keys, jobs, answers] = await Promise.all([
    countMachineKeys(db, counted.account, machineId),
    countForeignJobs(db, counted.account, counted.session),
    countAnswers(deps, counted),
  ]);
  return { rows: counted.rows + jobs + answers, keys };
}

/** Since the session began, of the whole account: an answer that held an output would not say whose. */
async function countAnswers(deps: Deps, { account, created_at }: Counted): Promise<number> {
  const kept = await listKept(deps, account, { routesLike: "sessions.%", since: created_at });
  return kept.filter(
    ({ route, content }) =>
      route !== createSession.id ||
      (content !== null &&
        !(ANSWERED.test(content.body ?? "{}") && HEADERS.test(JSON.stringify(content.headers)))),
  ).length;
}
