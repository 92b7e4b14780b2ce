// SPDX-License-Identifier: Apache-2.0
/**
 * What a host is lent to pull an account's images for one start: a key that opens the registry for
 * reading, of that account, and nothing else. It ends by database time, and with the start.
 *
 * The attacker has the host's memory or the engine's: what they find there is over soon, and reads images
 * that the host runs anyway.
 */
import { type RawBuilder, sql } from "kysely";
import type { Db } from "../../database/open.ts";
import { hashKey, makeId, makeKey } from "./keys.ts";

const PREFIX = "cm_pull_";
const LENT_FOR = sql`interval '1 hour'`;
const nameFor = (machine: string) => `pull ${machine} `;
const nameOf = (machine: string, incarnation: number) => `${nameFor(machine)}${incarnation}`;

export async function lendPullKey(
  db: Db,
  ask: { account: string; machine: string; incarnation: number },
): Promise<string> {
  const key = makeKey(PREFIX);
  await sql`
    insert into api_keys (id, account_id, surface, prefix, hash, scopes, name, expires_at)
    values (${makeId("key")}, ${ask.account}, 'registry', ${PREFIX}, ${hashKey(key)}, '{registry:pull}',
      ${nameOf(ask.machine, ask.incarnation)}, now() + ${LENT_FOR})`.execute(db);
  return key;
}

/** Clause `returned`: of a start that is through, whose machine is the one row of clause `machine`. */
export const returnPullKeysClause = (machine: string, incarnation: number): RawBuilder<unknown> => sql`
  returned as (
    delete from api_keys k using machine
    where k.account_id = machine.account_id and k.surface = 'registry' and k.name = ${nameOf(machine, incarnation)}
  )`;

/** Keys lent for any start of the machine that open something still. */
export async function countMachineKeys(db: Db, account: string, machine: string): Promise<number> {
  const { rows } = await sql<{ keys: number }>`
    select count(*)::int as keys from api_keys
    where account_id = ${account} and starts_with(name, ${nameFor(machine)})
      and revoked_at is null and (expires_at is null or expires_at > now())`.execute(db);
  return rows[0]!.keys;
}

export async function forgetPullKeys(db: Db): Promise<void> {
  await sql`delete from api_keys where surface = 'registry' and expires_at < now()`.execute(db);
}
