// SPDX-License-Identifier: Apache-2.0
/**
 * The token by which an instance asks models: made for one claim, sealed into it, and kept here as its SHA-256 alone. It opens the
 * gateway for this instance and nothing else, and ends with it.
 *
 * A host may lose the answer to a claim and ask again, and which of the boxes the machine opened is not known here. So tokens of one
 * start live side by side, few of them; another start ends those of the one before.
 */
import { type RawBuilder, sql } from "kysely";
import type { Db } from "../../database/open.ts";
import { hashKey, makeId, makeKey } from "./keys.ts";

const PREFIX = "cm_inf_";
/** Of one start. */
const TOKENS_MAX = 4;
const nameOf = (incarnation: number) => `inference ${incarnation}`;

export async function makeInstanceToken(
  db: Db,
  ask: { account: string; instance: string; incarnation: number },
): Promise<string> {
  const token = makeKey(PREFIX);
  const name = nameOf(ask.incarnation);
  await sql`
    with others as (
      delete from api_keys where instance_id = ${ask.instance} and (name <> ${name} or id not in (
        select id from api_keys where instance_id = ${ask.instance} and name = ${name}
        order by created_at desc limit ${TOKENS_MAX - 1}))
    )
    insert into api_keys (id, account_id, surface, prefix, hash, scopes, name, instance_id)
    values (${makeId("key")}, ${ask.account}, 'inference', ${PREFIX}, ${hashKey(token)}, '{inference:*}', ${name},
      ${ask.instance})`.execute(db);
  return token;
}

/** Clause `tokens`: of the instance in clause `subject`, which is over. */
export const END_INSTANCE_TOKENS: RawBuilder<unknown> = sql`
  tokens as (delete from api_keys k using subject where k.instance_id = subject.id)`;
