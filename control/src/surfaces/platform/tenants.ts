// SPDX-License-Identifier: Apache-2.0
/** A tenant in one transaction: an organization, a client that acts for it, a key for workloads. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { createTenant } from "#contract/platform/tenants.ts";
import { addKey, addParty } from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import { addClient } from "../../core/oauth/index.ts";
import type { Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { PlatformDeps } from "./deps.ts";

const SLUG_MAX = 32;

export async function create(
  { db, issuer, jurisdiction }: Pick<PlatformDeps, "db" | "issuer" | "jurisdiction">,
  call: Call<typeof createTenant>,
): Promise<Answer> {
  const { name } = call.body;
  const slug = call.body.slug ?? slugOf(name);
  const made = await db.write(async (tx) => {
    const { id, accountId } = await addParty(tx, { kind: "organization", name, jurisdiction });
    const client = await addClient(tx, {
      ...{ party: id, name, grantTypes: ["client_credentials"], redirectUris: [] },
      ...{ confidential: true, requirePkce: false },
    });
    await takeSlug(tx, accountId, slug);
    const about = { account: accountId, name: "first", expiresAt: null };
    const key = await addKey(tx, { ...about, scopes: ["workloads:*"] });
    const instances = await addKey(tx, { ...about, surface: "instances", scopes: ["instances:*"] });
    await append(tx, {
      ...{ account: accountId, type: "organization.created", subject: id },
      payload: { by: "operator", name },
    });
    return { id, accountId, client, key: key!.key, instances: instances!.key };
  });
  return {
    status: 201,
    body: {
      tenant: name,
      organization_id: made.id,
      account_id: made.accountId,
      oauth_client: { client_id: made.client.clientId, client_secret: made.client.clientSecret! },
      token_url: `${issuer()}/cdb/oauth2/token`,
      api_keys: { workloads: made.key, instances: made.instances },
      slug,
      api_key: made.instances,
    },
  };
}

/** Letters and digits of the name, anything else a dash. A name without any has to bring a slug. */
function slugOf(name: string): string {
  const slug = name
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, SLUG_MAX)
    .replaceAll(/^-+|-+$/g, "");
  if (slug === "")
    throw new Fault("request.invalid", {
      detail: "slug is missing, and none can be made of name",
      field: "slug",
    });
  return slug;
}

async function takeSlug(tx: Tx, account: string, slug: string): Promise<void> {
  const { rows } = await sql`
    insert into instance_tenants (account_id, slug) values (${account}, ${slug})
    on conflict (slug) do nothing returning slug`.execute(tx);
  if (rows.length === 0) throw new Fault("tenant.slug-taken", { slug });
}
