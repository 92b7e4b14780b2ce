// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the names of workloads and hosts in a zone that the operator's own server serves, by signed
 * updates (rfc2136.ts). What is there follows from what the database says should be there, looked at
 * again and again:
 *
 *     wanted ──differs from the row──▶ unsettled ──update──▶ settled (or the row goes, with the name)
 *                                         └──refused: later again, alone──┘
 *
 *  A. A name is in `zone_records` before an update is sent and until one has taken it away: what was
 *     written is never forgotten, also when the answer was lost or we died in between.
 *  B. One replica at a time writes a name; its claim ends after the longest an update can take, and a
 *     row counts as settled only if it still says what was sent.
 *  C. An update is all or nothing, so one bad name would hold up all: a batch that is refused is sent
 *     name by name, and what is refused then waits.
 *  D. A name is ours whole: all its addresses and aliases are replaced.
 */
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";
import { hostNamesQuery, recordsOf, workloadNamesQuery } from "./addresses-of-names.ts";
import type { Change, UpdatableData, UpdateOutcome, ZoneUpdater } from "./rfc2136.ts";

export interface ZoneKeeperOptions {
  db: Db;
  zone: string;
  updater: ZoneUpdater;
  log(event: string, facts: Record<string, unknown>): void;
}

/** Three changes a name; an update takes a hundred. */
const NAMES_AT_ONCE = 30;
/** B: longer than a batch takes that is refused, and then sent name by name. */
const CLAIM_S = 300;
/** C. */
const REFUSED_S = 300;
const TYPES = ["A", "AAAA", "CNAME"] as const;

/** One look; `every` repeats it. Throws nothing about the other server: that is logged. */
export async function keepZone(options: ZoneKeeperOptions): Promise<void> {
  await noteDifferences(options);
  for (;;) {
    const batch = await claim(options.db);
    if (batch.length === 0 || !(await settle(options, batch)) || batch.length < NAMES_AT_ONCE) return;
  }
}

interface Row {
  name: string;
  target: string;
}

/** A. */
async function noteDifferences({ db, zone }: ZoneKeeperOptions): Promise<void> {
  await sql`
    with wanted as (
      ${workloadNamesQuery(zone)} union all ${hostNamesQuery(zone)}
    ),
    -- Two hosts whose ids begin alike share a name; a server of others has one of them.
    one as (select name, max(target) as target from wanted where target <> '' group by name),
    next as (
      select coalesce(one.name, r.name) as name, coalesce(one.target, '') as target
      from one full join zone_records r on r.name = one.name
      where r.target is distinct from coalesce(one.target, '')
    )
    insert into zone_records (name, target) select name, target from next order by name
    on conflict (name) do update set target = excluded.target, settled = false
    where zone_records.target <> excluded.target`.execute(db);
}

async function claim(db: Db): Promise<Row[]> {
  const { rows } = await sql<Row>`
    update zone_records set claimed_until = now() + make_interval(secs => ${CLAIM_S})
    where name in (
      select name from zone_records where not settled and claimed_until < now()
      order by claimed_until, name limit ${NAMES_AT_ONCE} for update skip locked
    ) returning name, target`.execute(db);
  return rows;
}

/** False: the server is away, and there is no use in going on now. */
async function settle(options: ZoneKeeperOptions, batch: readonly Row[]): Promise<boolean> {
  const { db, updater, log } = options;
  const outcome = await updater
    .update(batch.flatMap(changesOf))
    // A name that no message to this server can hold: the zone was another one when it was written.
    .catch((error: Error): UpdateOutcome => ({ kind: "refused", reason: error.message }));
  if (outcome.kind === "done") {
    await concluded(db, batch);
    return true;
  }
  if (outcome.kind === "refused" && batch.length > 1) {
    for (const row of batch)
      if (!(await settle(options, [row]))) {
        await release(db, batch, 0);
        return false;
      }
    return true;
  }
  log("names.update-failed", { names: batch.length, first: batch[0]!.name, reason: outcome.reason });
  await release(db, batch, outcome.kind === "refused" ? REFUSED_S : 0);
  return outcome.kind === "refused";
}

async function release(db: Db, batch: readonly Row[], waitS: number): Promise<void> {
  await sql`
    update zone_records set claimed_until = now() + make_interval(secs => ${waitS})
    where name = any(${batch.map(({ name }) => name)}::text[]) and not settled`.execute(db);
}

/** B. */
async function concluded(db: Db, batch: readonly Row[]): Promise<void> {
  await sql`
    with sent as (
      select * from unnest(${batch.map(({ name }) => name)}::text[], ${batch.map(({ target }) => target)}::text[]) as s (name, target)
    ),
    gone as (
      delete from zone_records r using sent where r.name = sent.name and r.target = '' and sent.target = ''
    )
    update zone_records r set settled = r.target = sent.target, claimed_until = '-infinity'
    from sent where r.name = sent.name and not (r.target = '' and sent.target = '')`.execute(db);
}

/** D. */
function changesOf({ name, target }: Row): Change[] {
  const records = recordsOf(target);
  const data = (type: (typeof TYPES)[number]) =>
    records.filter((each): each is UpdatableData & { type: typeof type } => each.type === type);
  // What goes, first: an alias stands beside nothing.
  return TYPES.map((type): Change => ({ kind: "replace", name, type, data: data(type) })).sort(
    (one, other) => lengthOf(one) - lengthOf(other),
  );
}

const lengthOf = (change: Change): number => (change.kind === "replace" ? change.data.length : 1);
