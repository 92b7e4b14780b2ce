// SPDX-License-Identifier: Apache-2.0
/** The legacy sign-in. Whoever is wrong is told as little, and is counted as much, as at the page. */
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/identity/legacy.ts";
import { checkPassword, findUser } from "../../core/identity/index.ts";
import { type LegacySignIns, organizationOf } from "../../core/oauth/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { IdentityDeps } from "./deps.ts";

type Needs = Pick<IdentityDeps, "db" | "passwords"> & { legacy: LegacySignIns };

const BEARER = /^Bearer +([^\s]+)$/i;

export async function signIn(deps: Needs, call: Call<typeof contract.legacySignIn>): Promise<Answer> {
  const { Username, Password, KeepLoggedIn = false } = call.body;
  const user = await checkPassword(deps, { email: Username, password: Password, address: call.address });
  if (user === undefined) throw new Fault("identity.wrong-login");
  return { status: 200, body: await deps.legacy.begin(user, KeepLoggedIn) };
}

export async function refresh(
  { db, legacy }: Needs,
  call: Call<typeof contract.legacyRefresh>,
): Promise<Answer> {
  const given = call.body.RefreshToken ?? BEARER.exec(call.headers.authorization ?? "")?.[1];
  if (given === undefined) throw new Fault("identity.token");
  return { status: 200, body: await legacy.renew(given, (id) => findUser(db.run, id)) };
}

export async function signOut({ legacy }: Needs, call: Call<typeof contract.legacySignOut>): Promise<Answer> {
  await legacy.end(BEARER.exec(call.headers.authorization!)![1]!);
  return { status: 200, body: { Message: "Signed out." } };
}

export async function user({ db }: Needs, call: Call<typeof contract.legacyUser>): Promise<Answer> {
  const { actor, params } = call;
  const own = actor.kind === "user" && !actor.service && actor.id === params.uuid.toLowerCase();
  const found = own ? await findUser(db.soft, actor.id) : undefined;
  if (found === undefined) throw new Fault("account.not-found");
  const OrganisationUUID = await organizationOf(db.soft, found.id);
  return { status: 200, body: { UUID: found.id, Email: found.email, Name: found.name, OrganisationUUID } };
}
