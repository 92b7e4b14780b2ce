// SPDX-License-Identifier: Apache-2.0
/**
 * What a page of devices costs when there are more of them: three tenants in one database, asked in turns by
 * a client in a process of its own. Devices are put into the database by SQL, as many on each server as it
 * may have; the list is asked over HTTP, and its total must be right.
 */
import pg from "pg";
import { callerOf } from "#testing/caller.ts";
import { openControl } from "./control.ts";
import { type LoadClient, startLoadClient } from "./load.ts";
import type { Line } from "./sessions.ts";

const PER_SERVER = 1000;

interface Tenant {
  devices: number;
  site: string;
  token: string;
}

interface Effort {
  sizes: number[];
  turns: number;
  turnMs: number;
}

export async function deviceLists({ sizes, turns, turnMs }: Effort): Promise<Line[]> {
  await using control = await openControl({ identity: { requestsPerMinute: null } });
  await using client = startLoadClient();
  const tenants: Tenant[] = [];
  for (const devices of sizes) tenants.push(await tenantWith(control, devices));
  const lines: Line[] = [];
  for (const [what, pathOf] of [
    ["GET /dev/devices", () => "/dev/devices?limit=50"],
    ["GET /dev/system/{id}/devices", ({ site }: Tenant) => `/dev/system/${site}/devices?limit=50`],
  ] as const) {
    const times = new Map(tenants.map((tenant) => [tenant, [] as number[]]));
    for (const tenant of tenants) await requireTotal(control.url, tenant, pathOf(tenant));
    // The first turn of each warms what it needs.
    for (let turn = 0; turn <= turns; turn++)
      for (const tenant of tenants) {
        const ms = await askedFor(client, control.url, tenant, pathOf(tenant), turnMs);
        if (turn > 0) times.get(tenant)!.push(ms);
      }
    // Of the turn that neighbours disturbed least: three milliseconds are soon ten on a busy machine.
    const p50s = tenants.map((tenant) => Math.min(...times.get(tenant)!));
    const ratio = Math.max(...p50s) / Math.min(...p50s);
    lines.push({
      ...{ name: `${what}, p50 at the most over the least`, ratio, goal: 1.5, sense: "most" },
      ok: ratio <= 1.5,
      detail: tenants.map(({ devices }, n) => `${devices}: ${p50s[n]!.toFixed(1)} ms`).join(", "),
    });
  }
  return lines;
}

async function tenantWith(
  { url, adminKey, connection }: { url: string; adminKey: string; connection: pg.PoolConfig },
  devices: number,
): Promise<Tenant> {
  const { body } = await callerOf(url, adminKey)("POST", "/platform/v1/tenants", { name: `n${devices}` });
  const { client_id, client_secret } = body.oauth_client;
  const credentials = { grant_type: "client_credentials", client_id, client_secret };
  const { access_token: token } = (await callerOf(url, null)("POST", "/cdb/oauth2/token", credentials)).body;
  const made = await callerOf(url, token)("POST", "/dev/systems", { Name: "Harbour" });
  if (made.status !== 201) throw new Error(made.text);
  const site: string = made.body.ID;
  const db = new pg.Client(connection);
  await db.connect();
  try {
    await db.query(
      `with made as (
        insert into servers (id, site_id, name, admitted_by, last_seen)
        select gen_random_uuid(), $1, 'server ' || n, 'bench', now() from generate_series(1, ceil($2::float / ${PER_SERVER})::int) n
        returning id
      ), numbered as (select id, row_number() over () - 1 as at from made)
      insert into devices (id, nx_id, party_id, site_id, server_id, name, serial, type, tags)
      select gen_random_uuid(), gen_random_uuid(), s.party_id, s.id, v.id, 'Camera ' || md5(n::text), n::text, 'camera', '{}'
      from generate_series(0, $2::int - 1) n join numbered v on v.at = n / ${PER_SERVER} join sites s on s.id = $1`,
      [site, devices],
    );
    // As it would have been done by itself since, and not while is measured.
    await db.query("vacuum analyze devices");
    await db.query("vacuum analyze servers");
    await db.query("vacuum analyze sites");
    await db.query("checkpoint");
  } finally {
    await db.end();
  }
  return { devices, site, token };
}

async function requireTotal(url: string, { devices, token }: Tenant, path: string): Promise<void> {
  const { status, headers, body } = await callerOf(url, token)("GET", path);
  const total = headers.get("x-pagination-records");
  if (status !== 200 || total !== String(devices) || body.length !== Math.min(devices, 50))
    throw new Error(`${path} of ${devices}: ${status}, ${body?.length} of ${total}`);
}

async function askedFor(
  client: LoadClient,
  url: string,
  { token }: Tenant,
  path: string,
  durationMs: number,
): Promise<number> {
  const { p50Ms, statuses } = await client.run({
    ...{ url: url + path, method: "GET", headers: [{ authorization: `Bearer ${token}` }], body: null },
    ...{ connections: 1, durationMs },
  });
  if (Object.keys(statuses).join() !== "200") throw new Error(`${path} answered ${JSON.stringify(statuses)}`);
  return p50Ms;
}
