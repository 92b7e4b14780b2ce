// SPDX-License-Identifier: Apache-2.0
/**
 * What a workload costs, as ratios to what the same machine does without us. Each pair is measured in
 * turns, so a busy neighbour slows both, and the medians of the turns are compared. The first turns of
 * each are not counted: programs that run for months are measured, not how they are compiled.
 */

import { randomBytes, randomUUID } from "node:crypto";
import pg from "pg";
import { composeStart } from "./compose-start.ts";
import { openControl } from "./control.ts";
import { type LoadClient, startLoadClient } from "./load.ts";
import type { Line } from "./sessions.ts";
import { DOMAIN, startPart } from "./workloads-parts.ts";

const TURNS = 5;
/** A busy control is compiled for some ten seconds. */
const WARM_TURNS = 3;
const CONNECTIONS = 16;
const ACCOUNTS = 16;

export async function benchWorkloads(options: { quick: boolean; onLine(line: Line): void }): Promise<Line[]> {
  const turnMs = options.quick ? 700 : 3000;
  const lines: Line[] = [];
  const say = (line: Line) => {
    lines.push(line);
    options.onLine(line);
  };
  await using client = startLoadClient();
  {
    await using stage = await openStage();
    say(await reads(stage, client, turnMs));
    say(await creates(stage, client, turnMs));
  }
  for (const line of await ingress(client, turnMs)) say(line);
  const start = await composeStart(options.quick ? 3 : 9);
  if (start !== null) say(start);
  return lines;
}

interface Stage extends AsyncDisposable {
  url: string;
  connection: pg.PoolConfig;
  keys: string[];
}

/** Control, and a host in a process of its own, which takes every wish and does nothing about it. */
async function openStage(): Promise<Stage> {
  const control = await openControl({
    workloads: { requestsPerMinute: null, diskGbPerAccount: 1_000_000_000 },
  });
  try {
    const room = 2_000_000_000;
    const host = await startPart({
      kind: "host",
      socket: control.config.link.socket,
      facts: {
        ...{ hostId: `host_${randomBytes(16).toString("hex")}`, version: "0.0.1", bootId: "b" },
        ...{ cpus: 1, memoryMiB: 1, issuers: [], engines: {} },
        drivers: [{ isolation: "container", ready: true, missing: null, limits: "none", privileged: true }],
        kept: { cpuMillis: room, memoryMiB: room, diskMiB: room },
      },
    });
    control.undo.push(() => host[Symbol.asyncDispose]());
    const keys: string[] = [];
    for (let n = 0; n < ACCOUNTS; n++) {
      const made = await post(control.url, "/api/v1/accounts/create", control.adminKey, {
        name: `b${n}`,
        credits: 1e8,
      });
      keys.push(made.apiToken as string);
    }
    return Object.assign(control, { keys });
  } catch (error) {
    await control[Symbol.asyncDispose]();
    throw error;
  }
}

const ASK = {
  ...{ name: "bench", artifactsVersion: "0.0.1", publicContainerName: "api", publicContainerPort: 80 },
  dockerCompose: "services:\n  api:\n    image: caddy:2",
  ...{ memory: 512, cpus: 1, disk: 5, gpus: 0 },
};

async function post(url: string, path: string, key: string, body: object): Promise<Record<string, unknown>> {
  for (let tries = 0; ; tries++) {
    const response = await fetch(url + path, {
      method: "POST",
      headers: { "x-api-key": key, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.ok) return response.json() as Promise<Record<string, unknown>>;
    // The host joins a moment after control listens.
    if (tries > 100) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function creates(stage: Stage, client: LoadClient, turnMs: number): Promise<Line> {
  await post(stage.url, "/api/v1/workloads/create", stage.keys[0]!, ASK);
  const ours: number[] = [];
  const bare: number[] = [];
  for (let turn = -WARM_TURNS; turn < TURNS; turn++) {
    const rows = await insertedPerSecond(stage, turnMs);
    const { perSecond, statuses } = await client.run({
      url: `${stage.url}/api/v1/workloads/create`,
      method: "POST",
      headers: stage.keys.map((key) => ({ "x-api-key": key, "content-type": "application/json" })),
      body: JSON.stringify(ASK),
      connections: CONNECTIONS,
      durationMs: turnMs,
    });
    if (Object.keys(statuses).join() !== "201")
      throw new Error(`creates answered ${JSON.stringify(statuses)}`);
    if (turn < 0) continue;
    bare.push(rows);
    ours.push(perSecond);
  }
  return least(
    "creates a second / their rows in one statement",
    median(ours) / median(bare),
    0.5,
    `${median(ours).toFixed(0)}/s over ${median(bare).toFixed(0)}/s`,
  );
}

/** The rows of a create, and nothing else of it: no key, no policy, no seal, no lock, no answer. */
const ROWS = `
  with m as (insert into machines (id, account_id, host_id, surface, spec, created_at)
      values ($1, $2, 'none', 'bench', '{}', now()) returning id, account_id),
    t as (insert into meters (machine_id, account_id, rate_micros_per_min, state) select id, account_id, 200, 'idle' from m),
    w as (insert into workloads (id, account_id, machine_id, name, artifacts_version, public_service, public_port,
        cpus, gpus, memory_mb, disk_gb, domain, payload_sealed, compose_sealed, cost_micros_per_min)
      select $3::uuid, account_id, id, 'bench', '0.0.1', 'api', 80, 1, 0, 512, 5, $4, $5::bytea, $5::bytea, 200 from m returning id, account_id),
    e as (insert into workload_events (workload_id, kind) select id, 'created' from w)
  insert into journal (account_id, seq, type, subject, payload, payload_hash, head)
  select account_id, $6, 'workload.created', id::text, '{}', $7::bytea, $7::bytea from w`;

async function insertedPerSecond({ connection }: Stage, turnMs: number): Promise<number> {
  const pool = new pg.Pool({ ...connection, max: CONNECTIONS });
  const { rows } = await pool.query("select id from accounts order by id");
  const sealed = randomBytes(400);
  const hash = randomBytes(32);
  let done = 0;
  const from = performance.now();
  const worker = async () => {
    while (performance.now() - from < turnMs) {
      const id = randomUUID();
      const account = rows[done % rows.length].id;
      const seq = 1_000_000_000 + Math.floor(Math.random() * 1e12);
      const values = [`mach_${randomBytes(16).toString("hex")}`, account, id, `${id}.x`, sealed, seq, hash];
      await pool.query({ name: "rows", text: ROWS, values });
      done++;
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
  const seconds = (performance.now() - from) / 1000;
  await pool.end();
  return done / seconds;
}

/**
 * As many clients as keep both busy: a look-up waits for the database, which costs time and no work, so
 * few clients measure how long that is and not how much is answered. What they get is told beside it.
 */
const READERS = { many: 64, few: CONNECTIONS };

async function reads(stage: Stage, client: LoadClient, turnMs: number): Promise<Line> {
  const key = stage.keys[0]!;
  const made = await post(stage.url, "/api/v1/workloads/create", key, ASK);
  await using bare = await startPart({ kind: "bare", json: made });
  const theirs = { url: `http://127.0.0.1:${bare.port}/`, headers: [{}] };
  const ours = { url: `${stage.url}/api/v1/workloads/${made.workloadId}`, headers: [{ "x-api-key": key }] };
  const measure = async (connections: number) => {
    const rates: [number[], number[]] = [[], []];
    for (let turn = -WARM_TURNS; turn < TURNS; turn++)
      for (const [at, each] of [theirs, ours].entries()) {
        const load = { ...each, method: "GET", body: null, connections, durationMs: turnMs };
        const { perSecond, statuses } = await client.run(load);
        if (Object.keys(statuses).join() !== "200") throw new Error(`answered ${JSON.stringify(statuses)}`);
        if (turn >= 0) rates[at]!.push(perSecond);
      }
    const [bareRate, rate] = rates.map(median) as [number, number];
    const told = `${rate.toFixed(0)}/s over ${bareRate.toFixed(0)}/s`;
    return { ratio: rate / bareRate, told: `${told} with ${connections} clients` };
  };
  const many = await measure(READERS.many);
  const few = await measure(READERS.few);
  return least(
    "GET a workload / a bare Fastify route",
    many.ratio,
    0.6,
    `${many.told}; ${few.ratio.toFixed(2)}, ${few.told}`,
  );
}

async function ingress(client: LoadClient, turnMs: number): Promise<Line[]> {
  await using target = await startPart({ kind: "target" });
  await using front = await startPart({ kind: "ingress", port: target.port });
  const load = { method: "GET", body: null, connections: CONNECTIONS, durationMs: turnMs };
  const through = { ...load, url: `http://127.0.0.1:${front.port}/`, headers: [{ host: DOMAIN }] };
  const direct = { ...load, url: `http://127.0.0.1:${target.port}/`, headers: [{}] };
  const rates: [number[], number[]] = [[], []];
  const tails: [number[], number[]] = [[], []];
  for (let turn = -WARM_TURNS; turn < TURNS; turn++) {
    for (const [at, each] of [direct, through].entries()) {
      const { perSecond, p99Ms, statuses } = await client.run(each);
      if (Object.keys(statuses).join() !== "200") throw new Error(`answered ${JSON.stringify(statuses)}`);
      if (turn < 0) continue;
      rates[at]!.push(perSecond);
      tails[at]!.push(p99Ms);
    }
  }
  const [bare, ours] = rates.map(median) as [number, number];
  const [bareTail, ourTail] = tails.map(median) as [number, number];
  return [
    least(
      "ingress / direct, requests a second",
      ours / bare,
      0.6,
      `${ours.toFixed(0)}/s over ${bare.toFixed(0)}/s`,
    ),
    {
      ...{ name: "ingress / direct, p99", ratio: ourTail / bareTail, goal: 2, sense: "most" },
      ok: ourTail / bareTail <= 2,
      detail: `${ourTail.toFixed(1)} ms over ${bareTail.toFixed(1)} ms`,
    },
  ];
}

const least = (name: string, ratio: number, goal: number, detail: string): Line => ({
  ...{ name, ratio, goal, sense: "least", detail },
  ok: ratio >= goal,
});
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
