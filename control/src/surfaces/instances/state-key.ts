// SPDX-License-Identifier: Apache-2.0
/**
 * What an instance's disk is opened with. It is the instance's and not the machine's: made with its first claim, sealed to every later one
 * that has shown that it is the same image and launch, and forgotten with the instance. Whoever has the disk alone has noise.
 */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import type { Deps } from "./deps.ts";

const KEY_BYTES = 64;

const identityOf = (instance: string): string => `instance_state_keys/${instance}/key`;

/** Of two that make one, both get the one that is kept. Null: the instance was deleted meanwhile, and its key with it. */
export async function stateKeyOf(
  { db: { run }, vault }: Pick<Deps, "db" | "vault">,
  instance: string,
): Promise<string | null> {
  const find = async () => {
    const { rows } = await sql<{ key_sealed: Buffer }>`
      select key_sealed from instance_state_keys where instance_id = ${instance}`.execute(run);
    return rows[0]?.key_sealed;
  };
  let sealed = await find();
  if (sealed === undefined) {
    const made = await vault.seal(identityOf(instance), randomBytes(KEY_BYTES));
    await sql`insert into instance_state_keys (instance_id, key_sealed)
      select id, ${made}::bytea from instances where id = ${instance} and status in ('provisioning', 'ready') for share
      on conflict do nothing`.execute(run);
    sealed = await find();
    if (sealed === undefined) return null;
  }
  return (await vault.open(identityOf(instance), sealed)).toString("base64");
}

/** Clause `state_key`: of the instance in clause `subject`, which is over. */
export const FORGET_STATE_KEY = sql`
  state_key as (delete from instance_state_keys k using subject where k.instance_id = subject.id)`;
