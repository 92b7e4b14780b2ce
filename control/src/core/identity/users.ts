// SPDX-License-Identifier: Apache-2.0
/** People who sign in. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Database, Db, Tx } from "../../database/open.ts";
import { countGuess } from "./guesses.ts";
import { addParty } from "./parties.ts";
import type { Passwords } from "./passwords.ts";
import { normaliseEmail } from "./signup.ts";

export interface User {
  id: string;
  email: string;
  name: string;
  /** In seconds; tokens carry it. */
  passwordAt: number;
}

export async function addUser(
  tx: Tx,
  ask: { email: string; name: string; passwordHash: string | null; jurisdiction: string },
): Promise<{ id: string; accountId: string }> {
  const made = await addParty(tx, { kind: "user", name: ask.name, jurisdiction: ask.jurisdiction });
  const { rows } = await sql`
    insert into users (id, email, password_hash) values (${made.id}, ${ask.email}, ${ask.passwordHash})
    on conflict do nothing returning id`.execute(tx);
  if (rows.length === 0) throw new Fault("identity.email-taken", { field: "Email" });
  return made;
}

export function requireEmail(text: string): string {
  const email = normaliseEmail(text);
  if (email === null)
    throw new Fault("request.invalid", { detail: "Email must be a valid email address", field: "Email" });
  return email;
}

const SELECT = sql`
  select u.id, u.email, p.name, u.password_hash, extract(epoch from u.password_changed_at)::bigint as "passwordAt"
  from users u join parties p on p.id = u.id and p.deleted_at is null`;

export async function findUser(db: Db, id: string): Promise<User | undefined> {
  const { rows } = await sql<User>`${SELECT} where u.id = ${id}`.execute(db);
  return rows[0];
}

/** Undefined for a wrong password as for nobody, after as long; throws when there were too many tries. */
export async function checkPassword(
  { db, passwords }: { db: Database; passwords: Passwords },
  { email, password, address }: { email: string; password: string; address: string },
): Promise<User | undefined> {
  const giveBack = await countGuess(db.run, email.trim(), address);
  const { rows } = await sql<User & { password_hash: string | null }>`
    ${SELECT} where lower(u.email) = lower(${email.trim()})`.execute(db.run);
  const user = rows[0];
  const right = await passwords.matches(password, user?.password_hash ?? null);
  if (!right) return undefined;
  await giveBack();
  return user;
}

/** Every sign-in ends with the old password: whoever knew it is out. */
export async function changePassword(db: Db, user: string, passwordHash: string): Promise<void> {
  await sql`
    with changed as (
      update users set password_hash = ${passwordHash},
        password_changed_at = greatest(date_trunc('second', now()), password_changed_at + interval '1 second')
      where id = ${user}
    ), gone as (delete from sign_ins where user_id = ${user})
    delete from oauth_records where user_id = ${user}`.execute(db);
}

/** Everything that was ever signed in to, on every replica, with the next call. */
export async function signOutEverywhere(db: Db, user: string): Promise<void> {
  await sql`
    with gone as (delete from sign_ins where user_id = ${user})
    delete from oauth_records where user_id = ${user}`.execute(db);
}

/** False: there was none. What the person owned stays; the mailbox is free again, and nothing of theirs signs in. */
export async function deleteUser(tx: Tx, id: string): Promise<boolean> {
  const { rows } = await sql`
    update parties set deleted_at = now(), version = version + 1
    where id = ${id} and kind = 'user' and deleted_at is null returning id`.execute(tx);
  if (rows.length === 0) return false;
  await sql`update users set email = null, password_hash = null where id = ${id}`.execute(tx);
  await sql`delete from outside_identities where user_id = ${id}`.execute(tx);
  await sql`delete from members where user_id = ${id}`.execute(tx);
  await signOutEverywhere(tx, id);
  return true;
}
