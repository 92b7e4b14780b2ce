// SPDX-License-Identifier: Apache-2.0
/**
 * What an instance's owner waits for, over what would be asked for by itself. Now: polling its record, as the quickstart does, over a bare
 * Fastify route that answers the same 304 to the same client. The client is a process of its own; turns alternate, and medians are compared.
 */
import Fastify from "fastify";
import pg from "pg";
import { callerOf } from "#testing/caller.ts";
import { type BareControl, openControl } from "./control.ts";
import { type LoadClient, startLoadClient } from "./load.ts";
import type { Line } from "./sessions.ts";

const POLLING_GOAL = 0.7;
const CONNECTIONS = 64;
const NAME = "4k9p2xq7";

export async function benchInstances(options: { quick: boolean; onLine(line: Line): void }): Promise<Line[]> {
  const line = await polling(options.quick ? 3 : 9, options.quick ? 700 : 2_000);
  options.onLine(line);
  process.stderr.write("not measured: warm claim to the first command over SSH\n");
  process.stderr.write("not measured: cold create to the first command over SSH\n");
  return [line];
}

async function polling(turns: number, turnMs: number): Promise<Line> {
  await using control = await openControl({ instances: { requestsPerMinute: null } });
  await using client = startLoadClient();
  const key = await instanceIn(control);
  const path = `/v1/instances/${NAME}`;
  const { headers } = await callerOf(control.url, key)("GET", path);
  const etag = headers.get("etag");
  if (etag === null) throw new Error(`${path} has no ETag`);
  const bare = Fastify();
  bare.get("/v1/instances/:name", (_request, reply) => reply.code(304).header("etag", etag).send());
  const bareUrl = await bare.listen({ host: "127.0.0.1", port: 0 });
  try {
    const ask = { authorization: `Bearer ${key}`, "if-none-match": etag };
    const [ours, floor]: [number[], number[]] = [[], []];
    // The first turn of each warms what it needs.
    for (let turn = 0; turn <= turns; turn++) {
      floor.push(await perSecond(client, bareUrl + path, ask, turnMs));
      ours.push(await perSecond(client, control.url + path, ask, turnMs));
    }
    const [left, right] = [ours, floor].map((each) => median(each.slice(1))) as [number, number];
    return {
      ...{ name: "GET instance, 304 a second / bare Fastify route", ratio: left / right, goal: POLLING_GOAL },
      ...{ sense: "least", ok: left / right >= POLLING_GOAL },
      detail: `${left.toFixed(0)} over ${right.toFixed(0)}, ${CONNECTIONS} connections`,
    };
  } finally {
    await bare.close();
  }
}

async function perSecond(
  client: LoadClient,
  url: string,
  headers: Record<string, string>,
  durationMs: number,
): Promise<number> {
  const said = await client.run({
    ...{ url, method: "GET", headers: [headers], body: null, connections: CONNECTIONS, durationMs },
  });
  if (Object.keys(said.statuses).join() !== "304")
    throw new Error(`${url} answered ${JSON.stringify(said.statuses)}`);
  return said.perSecond;
}

/** One that is ready, put there by SQL: no host is in this. Answers its tenant's key. */
async function instanceIn({ url, adminKey, connection }: BareControl): Promise<string> {
  const { body } = await callerOf(url, adminKey)("POST", "/platform/v1/tenants", { name: "acme" });
  const db = new pg.Client(connection);
  await db.connect();
  try {
    await db.query(
      `with machine as (
        insert into machines (id, account_id, surface, spec, state, created_at)
        values ('mach_' || repeat('0', 32), $1, 'instances', '{"isolation":"vm-vtpm"}', 'running', now()) returning id
      )
      insert into instances (id, account_id, machine_id, name, hostname, agent, public_key, inference_mode, inference_model,
        egress_limit_bytes, image_sha256, status, power, ready_at, ssh)
      select 'inst_' || repeat('0', 32), $1, id, $2, $2 || '.acme.casemate.internal', 'none', 'ssh-ed25519 AAAA', 'default_gateway',
        'default', 5368709120, repeat('0', 64), 'ready', 'running', now(),
        '{"address":"127.64.0.1","port":22,"hostKeys":["ssh-ed25519 AAAA"]}' from machine`,
      [body.account_id, NAME],
    );
  } finally {
    await db.end();
  }
  return body.api_key;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
