// SPDX-License-Identifier: Apache-2.0
/** What is kept for repeats: of use to a repeat on any replica, and to nobody who copied the database. */
import { createHash } from "node:crypto";
import { copyFileSync } from "node:fs";
import canonicalize from "canonicalize";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";

const replicas: Installation[] = [];
const driver = new FakeKeptDriver();
beforeAll(async () => {
  replicas.push(await startInstallation({ kept: driver }));
  const { connection } = replicas[0]!;
  replicas.push(await startInstallation({ withHost: false, replica: "test-2", database: connection }));
});
afterAll(async () => {
  for (const replica of replicas.toReversed()) await replica[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const ASK = {
  ...{ name: "kept", artifactsVersion: "0.1.0" },
  dockerCompose: "services:\n  api:\n    image: caddy:2\n    command: a-word-of-the-client",
  ...{ publicContainerName: "api", publicContainerPort: 80, memory: 512, cpus: 1, disk: 5, gpus: 0 },
};
const CREATE = "/api/v1/workloads/create";
const db = () => replicas[0]!.control.db;
const adminOf = (n: number): Caller => callerOf(replicas[n]!.url, replicas[1]!.adminKey);

async function account(credits: number): Promise<{ id: string; at: (n: number) => Caller }> {
  const { body } = await adminOf(0)("POST", "/api/v1/accounts/create", { name: "a", credits });
  return { id: body.accountId, at: (n) => callerOf(replicas[n]!.url, body.apiToken) };
}

async function rowsOf(owner: string): Promise<Record<string, unknown>[]> {
  const { rows } = await sql<Record<string, unknown>>`
    select * from idempotency where account_id = ${owner}`.execute(db().run);
  return rows;
}

it("neither the request nor the answer can be read from the rows, or guessed by hashing", async () => {
  const me = await account(1000);
  const key = { "idempotency-key": "guess-me" };
  const made = await me.at(0)("POST", CREATE, ASK, key);
  expect(made.status).toBe(201);
  const rows = await rowsOf(me.id);
  expect(rows).toHaveLength(1);
  const bytes = Buffer.concat(
    Object.values(rows[0]!).map((each) => (Buffer.isBuffer(each) ? each : Buffer.from(JSON.stringify(each)))),
  );
  for (const plain of ["a-word-of-the-client", "caddy:2", made.body.workloadId, made.body.domain])
    expect(bytes.includes(plain), plain).toBe(false);
  const guesses = [[ASK, {}], ASK].map((guess) => canonicalize(guess)!);
  for (const guess of [...guesses, JSON.stringify(ASK), made.text])
    expect(bytes.includes(createHash("sha256").update(guess).digest())).toBe(false);
});

it("a repeat is answered alike by another replica and after a rotation of keys, and another body is refused", async () => {
  const me = await account(1000);
  const key = { "idempotency-key": "again" };
  const first = await me.at(0)("POST", CREATE, ASK, key);
  const rotate = async (n: number) => {
    expect((await adminOf(n)("POST", "/platform/v1/keys/rotate")).status).toBe(200);
    copyFileSync(replicas[n]!.connection.keyRing, replicas[1 - n]!.connection.keyRing);
  };
  await rotate(0);
  for (const n of [0, 1]) {
    const again = await me.at(n)("POST", CREATE, ASK, key);
    expect([again.status, again.text, again.headers.get("idempotency-replayed")]).toEqual([
      201,
      first.text,
      "true",
    ]);
    expect((await me.at(n)("POST", CREATE, { ...ASK, name: "other" }, key)).status).toBe(409);
    await rotate(n);
  }
  expect((await me.at(0)("GET", "/api/v1/workloads/list")).body).toHaveLength(1);
});

it("a kept answer that was moved to another key answers nobody", async () => {
  const me = await account(1000);
  await me.at(0)("POST", CREATE, ASK, { "idempotency-key": "from" });
  await sql`update idempotency set key = 'to' where account_id = ${me.id}`.execute(db().run);
  const moved = await me.at(0)("POST", CREATE, ASK, { "idempotency-key": "to" });
  expect([moved.status, moved.text.includes("a-word-of-the-client")]).toEqual([500, false]);
});

/** What a death leaves: what was in effect, its mark, and nothing that came after them. */
async function dyingAfter(key: string, work: () => Promise<void>): Promise<void> {
  await sql
    .raw(`
    create function die() returns trigger language plpgsql as $$ begin raise exception 'dead'; end $$;
    create trigger dead before update or delete on idempotency
      for each row when (old.in_effect and old.key = '${key}') execute function die()`)
    .execute(db().run);
  try {
    await work();
  } finally {
    await sql.raw("drop function die() cascade").execute(db().run);
  }
}

/** The time passes for which a claim is held. */
const letGo = (key: string) =>
  sql`update idempotency set held_until = now() - interval '1 second' where key = ${key}`.execute(db().run);

it("a credit whose process died before the answer was kept counts once, whoever repeats it", async () => {
  const me = await account(0);
  const body = { accountId: me.id, credits: 5 };
  const key = { "idempotency-key": `dies-${me.id}` };
  const credit = (n: number) => adminOf(n)("POST", "/api/v1/accounts/add-credits", body, key);
  await dyingAfter(key["idempotency-key"], async () => {
    expect((await credit(0)).status).toBe(500);
  });
  const held = await credit(1);
  expect([held.status, held.headers.get("retry-after")]).toEqual([409, "1"]);
  await letGo(key["idempotency-key"]);
  const replies = await Promise.all([credit(0), credit(1), credit(0), credit(1)]);
  expect(replies.map(({ status, body: { credits } }) => [status, credits])).toEqual(
    replies.map(() => [200, 5]),
  );
  const other = { ...body, credits: 6 };
  expect((await adminOf(0)("POST", "/api/v1/accounts/add-credits", other, key)).status).toBe(409);
  expect((await me.at(0)("GET", "/api/v1/payments/list")).body).toHaveLength(1);
});

it("a workload whose process died before the answer was kept is made once, and shown to whoever repeats it", async () => {
  const me = await account(1000);
  const key = { "idempotency-key": `dies-${me.id}` };
  const create = (n: number, change = {}) => me.at(n)("POST", CREATE, { ...ASK, ...change }, key);
  await dyingAfter(key["idempotency-key"], async () => {
    expect((await create(0)).status).toBe(500);
  });
  const [made] = (await me.at(0)("GET", "/api/v1/workloads/list")).body;
  expect((await create(1)).status).toBe(409);
  await letGo(key["idempotency-key"]);
  const replies = await Promise.all([create(0), create(1), create(0), create(1)]);
  expect(replies.map(({ status, body }) => [status, body.workloadId])).toEqual(
    replies.map(() => [201, made.workloadId]),
  );
  expect((await create(0, { name: "other" })).status).toBe(409);
  expect((await me.at(0)("GET", "/api/v1/workloads/list")).body).toHaveLength(1);
  expect((await me.at(0)("POST", CREATE, ASK, { "idempotency-key": "another" })).body.workloadId).not.toBe(
    made.workloadId,
  );
});

it("a workload that was refused is not remembered, and made by the next try", async () => {
  const me = await account(0);
  const key = { "idempotency-key": "poor" };
  expect((await me.at(0)("POST", CREATE, ASK, key)).status).toBe(412);
  await adminOf(0)("POST", "/api/v1/accounts/add-credits", { accountId: me.id, credits: 1000 });
  expect((await me.at(0)("POST", CREATE, ASK, key)).status).toBe(201);
});

it("a session whose process died before the answer was kept is opened once, and one that never started is opened anew", async () => {
  const me = await replicas[0]!.account();
  const key = { "idempotency-key": `dies-${me.accountId}` };
  const open = () => me("POST", "/v1/sessions", {}, key);
  await dyingAfter(key["idempotency-key"], async () => {
    expect((await open()).status).toBe(500);
  });
  await letGo(key["idempotency-key"]);
  const again = await open();
  const sessions = async () => (await me("GET", "/v1/sessions")).body.sessions;
  expect([again.status, again.body.session_id]).toEqual([201, expect.stringMatching(/^sess_[0-9a-f]{32}$/)]);
  expect((await sessions()).map(({ session_id: id }: { session_id: string }) => id)).toEqual([
    again.body.session_id,
  ]);
  expect((await open()).text).toBe(again.text);

  // A machine that never came up, of a process that died waiting for it.
  await sql`update idempotency set status = null, answer_sealed = null where key = ${key["idempotency-key"]}`.execute(
    db().run,
  );
  await letGo(key["idempotency-key"]);
  await sql`
    update machines set started_at = null, state = 'failed', ended_at = now()
    where id = (select machine_id from sessions where id = ${again.body.session_id})`.execute(db().run);
  expect((await open()).status).toBeGreaterThanOrEqual(500);
  const anew = await open();
  expect([anew.status, anew.body.session_id === again.body.session_id]).toEqual([201, false]);
});
