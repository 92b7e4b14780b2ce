// SPDX-License-Identifier: Apache-2.0
/**
 * Bounds on guessing, in the database: all replicas count together, and a restart gives nobody new tries.
 *
 *  A. A try is counted before its password is looked at, so of many at once no more than the bound are
 *     looked at; one that was right is given back.
 *  B. Counted are the account that is tried, there or not, and the address it comes from. The bound of an
 *     account lets an attacker keep its owner out by password for a while; the owner's sign-ins go on.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db } from "../../database/open.ts";
import { blockOf } from "./authenticate.ts";
import { hashKey } from "./keys.ts";

const WINDOW_S = 900;
const PER_ACCOUNT = 10;
const PER_ADDRESS = 50;

const isOver = sql`guesses.window_start < now() - make_interval(secs => ${WINDOW_S})`;

/** Throws when there were too many; returns what gives the try back. */
export async function countGuess(db: Db, what: string, address: string): Promise<() => Promise<void>> {
  // The address is not kept as it was typed: people type passwords into that field.
  const account = `account:${hashKey(what.toLowerCase()).toString("hex")}`;
  const place = `address:${blockOf(address)}`;
  const { rows } = await sql<{ subject: string; failed: number; wait_s: number }>`
    insert into guesses (subject, window_start, failed)
    select subject, now(), 1 from unnest(${[account, place].sort()}::text[]) as t (subject)
    on conflict (subject) do update set
      failed = case when ${isOver} then 1 else guesses.failed + 1 end,
      window_start = case when ${isOver} then now() else guesses.window_start end
    returning subject, failed,
      ceil(extract(epoch from window_start - now()) + ${WINDOW_S}::int)::int as wait_s`.execute(db);
  const over = rows.find((row) => row.failed > (row.subject === account ? PER_ACCOUNT : PER_ADDRESS));
  if (over !== undefined)
    throw new Fault("identity.guesses", { seconds: over.wait_s }, { retryAfterSeconds: over.wait_s });
  return async () => {
    await sql`
      update guesses set failed = greatest(failed - 1, 0)
      where subject in (${account}, ${place})`.execute(db);
  };
}

export async function forgetGuesses(db: Db): Promise<void> {
  await sql`delete from guesses where window_start < now() - interval '1 hour'`.execute(db);
}
