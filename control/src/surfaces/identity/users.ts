// SPDX-License-Identifier: Apache-2.0
/** People about themselves. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/identity/users.ts";
import {
  type Actor,
  acceptInvitation,
  addUser,
  changePassword,
  checkPassword,
  findUser,
  requireEmail,
  requirePassword,
  signOutEverywhere,
} from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { IdentityDeps } from "./deps.ts";

type Needs = Pick<IdentityDeps, "db" | "passwords">;

export async function signUp(
  { db, passwords, signUp: mode, jurisdiction }: Needs & Pick<IdentityDeps, "signUp" | "jurisdiction">,
  call: Call<typeof contract.signUp>,
): Promise<Answer> {
  const { Email, Password, Name, Invitation } = call.body;
  if (mode !== "open" && Invitation === undefined) throw new Fault("identity.sign-up-closed");
  const email = requireEmail(Email);
  requirePassword(Password, email);
  const passwordHash = await passwords.hash(Password);
  const user = await db.write(async (tx) => {
    const made = await addUser(tx, { email, name: Name, passwordHash, jurisdiction });
    if (Invitation !== undefined) await acceptInvitation(tx, Invitation, made.id);
    await append(tx, {
      ...{ account: made.accountId, type: "user.created", subject: made.id, payload: { by: "sign-up" } },
    });
    return made;
  });
  const { rows } = await sql<{ created_at: Date }>`
    select created_at from parties where id = ${user.id}`.execute(db.run);
  const CreatedAt = rows[0]!.created_at.toISOString();
  return { status: 201, body: { UUID: user.id, Email: email, Name, CreatedAt } };
}

export async function me({ actor }: Call<typeof contract.getMe>): Promise<Answer> {
  const { kind, id, name, party, scopes } = actor;
  return {
    status: 200,
    body: {
      ...{ Kind: kind, ID: id, Name: name, Permissions: scopes },
      ActingFor: { Kind: party.kind, UUID: party.id, Name: party.name },
    },
  };
}

export async function newPassword(deps: Needs, call: Call<typeof contract.changePassword>): Promise<Answer> {
  const { db, passwords } = deps;
  const id = personOf(call.actor);
  const user = await findUser(db.run, id);
  if (user === undefined) throw new Fault("identity.token");
  requirePassword(call.body.Password, user.email);
  // Whoever stole a token must not be able to try passwords with it, or to keep the account by it.
  const found = await checkPassword(deps, {
    ...{ email: user.email, password: call.body.Current, address: call.address },
  });
  if (found?.id !== id) throw new Fault("identity.wrong-password", { field: "Current" });
  await changePassword(db.run, id, await passwords.hash(call.body.Password));
  return { status: 204 };
}

export async function signOut(
  { db }: Pick<Needs, "db">,
  call: Call<typeof contract.signOut>,
): Promise<Answer> {
  await signOutEverywhere(db.run, personOf(call.actor));
  return { status: 204 };
}

function personOf({ kind, id, service }: Actor): string {
  if (kind !== "user" || service) throw new Fault("identity.scope", { scope: "of a person" });
  return id;
}
