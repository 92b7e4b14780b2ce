// SPDX-License-Identifier: Apache-2.0
/** A tenant in one transaction: an organization, a client that acts for it, a key for workloads. */
import type { createTenant } from "#contract/platform/tenants.ts";
import { addKey, addParty } from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import { addClient } from "../../core/oauth/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { PlatformDeps } from "./deps.ts";

export async function create(
  { db, issuer, jurisdiction }: Pick<PlatformDeps, "db" | "issuer" | "jurisdiction">,
  call: Call<typeof createTenant>,
): Promise<Answer> {
  const { name } = call.body;
  const made = await db.write(async (tx) => {
    const { id, accountId } = await addParty(tx, { kind: "organization", name, jurisdiction });
    const client = await addClient(tx, {
      ...{ party: id, name, grantTypes: ["client_credentials"], redirectUris: [] },
      ...{ confidential: true, requirePkce: false },
    });
    const key = await addKey(tx, {
      ...{ account: accountId, name: "first", scopes: ["workloads:*"], expiresAt: null },
    });
    await append(tx, {
      ...{ account: accountId, type: "organization.created", subject: id },
      payload: { by: "operator", name },
    });
    return { id, accountId, client, key: key!.key };
  });
  return {
    status: 201,
    body: {
      tenant: name,
      organization_id: made.id,
      account_id: made.accountId,
      oauth_client: { client_id: made.client.clientId, client_secret: made.client.clientSecret! },
      token_url: `${issuer()}/cdb/oauth2/token`,
      api_keys: { workloads: made.key },
    },
  };
}
