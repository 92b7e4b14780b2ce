// SPDX-License-Identifier: Apache-2.0
/** Webhooks of the caller's account: made, changed, tried, deleted. */
import { sql } from "kysely";
import type { Static } from "typebox";
import { Fault } from "#contract/errors.ts";
import type {
  createWebhook,
  deleteWebhook,
  getWebhook,
  listWebhooks,
  rotateSecret as rotateSecretOperation,
  testWebhook,
  updateWebhook,
} from "#contract/platform/webhooks.ts";
import { eventIdOf } from "../../core/events/index.ts";
import { append } from "../../core/journal/index.ts";
import {
  addDeliveries,
  createEndpoint,
  deleteEndpoint,
  type EndpointRow,
  listEndpoints,
  openUrl,
  requireEndpoint,
  requireUrl,
  rotateSecret,
  updateEndpoint,
} from "../../core/webhooks/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { matchesEtag } from "../../http/etag.ts";
import type { PlatformDeps } from "./deps.ts";

type Needs = Pick<PlatformDeps, "db" | "vault">;
type Shown = Static<(typeof getWebhook)["responses"][200]["schema"]>;

async function view({ vault }: Pick<PlatformDeps, "vault">, row: EndpointRow): Promise<Shown> {
  return {
    ...{ id: row.id, object: "webhook", url: await openUrl(vault, row) },
    events: row.events as Shown["events"],
    description: row.description,
    disabled: row.disabled_at !== null,
    disabled_reason: row.disabled_reason,
    failing_since: row.failing_since?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  };
}

export async function create(
  deps: Needs & Pick<PlatformDeps, "webhooksConfig">,
  call: Call<typeof createWebhook>,
): Promise<Answer> {
  const { url, events = ["*"], description = "" } = call.body;
  const { row, secret } = await createEndpoint(
    deps,
    {
      account: call.account.id,
      ...{ url: await requireUrl(url, deps.webhooksConfig), events, description },
    },
    deps.webhooksConfig.endpointsMax,
  );
  return {
    status: 201,
    body: { ...(await view(deps, row)), secret },
    headers: { location: `/platform/v1/webhooks/${row.id}` },
  };
}

export async function list(deps: Needs, call: Call<typeof listWebhooks>): Promise<Answer> {
  const rows = await listEndpoints(deps.db.soft, call.account.id);
  return { status: 200, body: { webhooks: await Promise.all(rows.map((row) => view(deps, row))) } };
}

export async function read(deps: Needs, call: Call<typeof getWebhook>): Promise<Answer> {
  const row = await requireEndpoint(deps.db.soft, call.account.id, call.params.id);
  const etag = `"${row.id}.${row.version}"`;
  if (matchesEtag(call.headers["if-none-match"], etag)) return { status: 304, headers: { etag } };
  return { status: 200, body: await view(deps, row), headers: { etag } };
}

export async function update(
  deps: Needs & Pick<PlatformDeps, "webhooksConfig">,
  call: Call<typeof updateWebhook>,
): Promise<Answer> {
  const row = await requireEndpoint(deps.db.run, call.account.id, call.params.id);
  const { url, ...change } = call.body;
  const checked = url === undefined ? {} : { url: await requireUrl(url, deps.webhooksConfig) };
  return { status: 200, body: await view(deps, await updateEndpoint(deps, row, { ...change, ...checked })) };
}

export async function remove(deps: Needs, call: Call<typeof deleteWebhook>): Promise<Answer> {
  await deleteEndpoint(deps.db, call.account.id, call.params.id);
  return { status: 204 };
}

export async function rotate(deps: Needs, call: Call<typeof rotateSecretOperation>): Promise<Answer> {
  const row = await requireEndpoint(deps.db.run, call.account.id, call.params.id);
  const { secret, previousUntil } = await rotateSecret(deps, row);
  return {
    status: 200,
    body: { id: row.id, secret, previous_valid_until: previousUntil.toISOString() },
  };
}

/** An event like others, so that its delivery can be looked at and replayed like others. */
export async function test(
  { db, webhooks }: Pick<PlatformDeps, "db" | "webhooks">,
  call: Call<typeof testWebhook>,
): Promise<Answer> {
  const account = call.account.id;
  const endpoint = await requireEnabled(db, account, call.params.id);
  const queue = await webhooks.queue();
  return db.write(async (tx) => {
    // Held, so that it is not deleted between the event and its delivery.
    await sql`select from webhook_endpoints where id = ${endpoint.id} for key share`.execute(tx);
    const seq = await append(tx, { account, type: "webhook.test", subject: endpoint.id, payload: {} });
    const made = { endpoint: endpoint.id, account, seq, type: "webhook.test" as const, replayOf: null };
    const [delivery] = await addDeliveries(tx, queue, [made]);
    return { status: 202, body: { event_id: eventIdOf(account, seq), delivery_id: delivery } };
  });
}

export async function requireEnabled(
  db: PlatformDeps["db"],
  account: string,
  id: string,
): Promise<EndpointRow> {
  const row = await requireEndpoint(db.run, account, id);
  if (row.disabled_at !== null) throw new Fault("webhook.disabled");
  return row;
}
