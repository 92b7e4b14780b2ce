// SPDX-License-Identifier: Apache-2.0
/**
 * Another key for an instance. The attacker is whoever has the old one, together with the host, which could keep the machine from hearing
 * of it. So from the statement on nobody is led to the machine until its evidence binds the new key (confirm.ts), and a claim with
 * the old one is refused by the machine once it has the new one, by the number of the key.
 */
import { sql } from "kysely";
import type { replacePublicKey } from "#contract/instances/power.ts";
import { appendClauses } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireReady } from "./power.ts";
import { requirePublicKey } from "./public-key.ts";
import { requireInstance } from "./rows.ts";
import { viewInstance } from "./view.ts";

export async function replaceKey(
  deps: Pick<Deps, "db" | "instances">,
  call: Call<typeof replacePublicKey>,
): Promise<Answer> {
  const { db, instances } = deps;
  const publicKey = requirePublicKey(call.body.public_key, instances.dialect.sshRsa);
  const { id, account_id, name } = await requireReady(deps, call);
  const entry = { account: account_id, type: "instance.key_replaced", subject: name, payload: {} };
  // Where it was reached is asked about anew, for the new key. The same key again changes nothing.
  await sql`
    with subject as (
      update instances set public_key = ${publicKey}, key_number = key_number + 1, ssh_said = coalesce(ssh_said, ssh), ssh = null,
        version = version + 1
      where id = ${id} and status = 'ready' and public_key <> ${publicKey} returning id
    ),
    ${appendClauses(entry, sql`exists (select from subject)`)}
    select (select count(*) from entry)`.execute(db.run);
  const row = await requireInstance(db.run, account_id, name);
  return { status: 202, body: viewInstance(row) };
}
