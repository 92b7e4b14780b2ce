// SPDX-License-Identifier: Apache-2.0
/** Programs that people sign in to, and people, for the operator. */
import { Fault } from "#contract/errors.ts";
import type { createPartner as createPartnerOperation } from "#contract/platform/channel-partners.ts";
import type * as contract from "#contract/platform/clients.ts";
import {
  addParty,
  addUser,
  deleteUser,
  inviteMember,
  requireEmail,
  requirePassword,
} from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import { addClient, clientMetadata, revokeClient } from "../../core/oauth/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { PlatformDeps } from "./deps.ts";

const GRANTS = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"];

export async function createClient(
  { db, authorization }: Pick<PlatformDeps, "db" | "authorization">,
  call: Call<typeof contract.createClient>,
): Promise<Answer> {
  const { name, redirect_uris: redirectUris, confidential = true } = call.body;
  const { require_pkce: requirePkce = false, native = false } = call.body;
  const ask = {
    ...{ party: null, name, redirectUris, confidential, requirePkce, native },
    grantTypes: redirectUris.length === 0 ? GRANTS.slice(1) : GRANTS,
  };
  try {
    await authorization.checkClient({ client_id: "check", client_secret: "check", ...clientMetadata(ask) });
  } catch (cause) {
    const detail = (cause as { error_description?: string }).error_description;
    if (detail === undefined) throw cause;
    throw new Fault("request.invalid", { detail }, { cause });
  }
  const { clientId, clientSecret } = await addClient(db.run, ask);
  return { status: 201, body: { client_id: clientId, client_secret: clientSecret } };
}

export async function removeClient(
  { db }: Pick<PlatformDeps, "db">,
  call: Call<typeof contract.revokeClient>,
): Promise<Answer> {
  if (!(await revokeClient(db.run, call.params.client_id))) throw new Fault("client.not-found");
  return { status: 204 };
}

export async function createUser(
  { db, passwords, jurisdiction }: Pick<PlatformDeps, "db" | "passwords" | "jurisdiction">,
  call: Call<typeof contract.createUser>,
): Promise<Answer> {
  const email = requireEmail(call.body.email);
  requirePassword(call.body.password, email);
  const passwordHash = await passwords.hash(call.body.password);
  const id = await db.write(async (tx) => {
    const made = await addUser(tx, { email, name: call.body.name, passwordHash, jurisdiction });
    await append(tx, {
      ...{ account: made.accountId, type: "user.created", subject: made.id, payload: { by: "operator" } },
    });
    return made.id;
  });
  return { status: 201, body: { user_id: id } };
}

export async function removeUser(
  { db }: Pick<PlatformDeps, "db">,
  call: Call<typeof contract.deleteUser>,
): Promise<Answer> {
  const gone = await db.write((tx) => deleteUser(tx, call.params.user_id));
  if (!gone) throw new Fault("account.not-found");
  return { status: 204 };
}

export async function createPartner(
  { db, jurisdiction }: Pick<PlatformDeps, "db" | "jurisdiction">,
  call: Call<typeof createPartnerOperation>,
): Promise<Answer> {
  const email = requireEmail(call.body.administrator_email);
  const { id, token } = await db.write(async (tx) => {
    const made = await addParty(tx, { kind: "channel_partner", name: call.body.name, jurisdiction });
    const invitation = await inviteMember(tx, { party: made.id, email, role: "administrator" });
    await append(tx, {
      ...{ account: made.accountId, type: "partner.created", subject: made.id },
      payload: { by: "operator", name: call.body.name },
    });
    return { id: made.id, token: invitation.token };
  });
  return { status: 201, body: { channel_partner_id: id, invitation: token } };
}
