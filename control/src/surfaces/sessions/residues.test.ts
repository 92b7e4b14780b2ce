// SPDX-License-Identifier: Apache-2.0
/**
 * Step 6 looks into the database, and the look is real: what a session was given lies in no row, and one
 * row that holds a body makes the proof say so, in that step and in no other.
 */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lendPullKey } from "#control/src/core/identity/index.ts";
import { openKeyRing, openVault, type Vault } from "#control/src/core/vault/index.ts";
import { sealContent } from "#control/src/http/idempotency.ts";
import { type Caller, type Installation, startInstallation } from "#testing/installation.ts";
import { type Receiver, startReceiver } from "#testing/webhook-receiver.ts";
import { findResidues } from "./residues.ts";

let casemate: Installation;
let vault: Vault;
let receiver: Receiver;
beforeAll(async () => {
  // It takes nothing in, so that a delivery's job is still there when it is looked for.
  receiver = await startReceiver({
    answer: (response) => {
      response.writeHead(503).end();
      return "handled";
    },
  });
  casemate = await startInstallation({
    config: { webhooks: { allowHttp: true, allowNetworks: ["127.0.0.0/8"], retryFirstMs: 60_000 } },
  });
  vault = openVault(db(), await openKeyRing(casemate.connection.keyRing));
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
});

const db = () => casemate.control.db.run;
const ROWS = "rows holding bodies";

async function opened(me: Caller): Promise<{ session: string; machine: string }> {
  const session = (await me("POST", "/v1/sessions", {}, { "idempotency-key": "once" })).body.session_id;
  const { machine_id } = await db()
    .selectFrom("sessions")
    .select("machine_id")
    .where("id", "=", session)
    .executeTakeFirstOrThrow();
  return { session, machine: machine_id };
}

/** Ends it, and answers the failed steps and what step 6 says of rows. */
async function ended(me: Caller, session: string) {
  const { body } = await me("DELETE", `/v1/sessions/${session}`);
  const { evidence } = body.cdp;
  const probe = evidence[5].measured.probes.find(({ name }: { name: string }) => name === ROWS);
  return { failed: evidence[7].measured.failed_steps, probe, evidence, status: body.status };
}

describe("what a session was given", () => {
  it("lies in no row of any table, and the proof says that this was looked for", async () => {
    const me = await casemate.account();
    const hook = { url: receiver.url, events: ["session.*"] };
    expect((await me("POST", "/platform/v1/webhooks", hook)).status).toBe(201);
    const { session } = await opened(me);
    const needle = `needle${randomBytes(8).toString("hex")}`;
    const ran = await me(
      "POST",
      `/v1/sessions/${session}/exec`,
      {
        command: `echo ${needle}; cat $INPUT_DATA >&2; echo $HELD`,
        input_data: `${needle} in`,
        env: { HELD: needle },
      },
      { "idempotency-key": "exec" },
    );
    expect(ran.body.output).toContain(needle);
    await me("PUT", `/v1/sessions/${session}/files/${needle}`, Buffer.from(`${needle} file`));
    await me("PATCH", `/v1/sessions/${session}`, { ttl_seconds: 300 });
    const { failed, probe, evidence } = await ended(me, session);
    expect(failed).toEqual([]);
    expect(probe).toEqual({ name: ROWS, expected: "0 found", observed: "0 found", ok: true });
    const skipped = [4, 5].flatMap((at) => evidence[at].skipped.map(({ name }: { name: string }) => name));
    expect(skipped).not.toContain(ROWS);
    expect(skipped).not.toContain("tokens");
    // Not the proof's own look but a search of everything, which cannot miss what it does not know.
    expect(await tablesHolding(needle)).toEqual([]);
    expect(await tablesHolding(session)).toContain("public.journal");
  });
});

describe("one row of its session with a body", () => {
  const journalled = (me: { accountId: string }, session: string, payload: object) =>
    sql`
    with numbered as (update accounts set journal_seq = journal_seq + 1 where id = ${me.accountId} returning journal_seq)
    insert into journal (account_id, seq, type, subject, payload, salt, payload_hash, head)
    select ${me.accountId}, journal_seq, 'session.exec_ended', ${session}, ${JSON.stringify(payload)}::json, '', '', ''
    from numbered`.execute(db());
  const answered = async (me: { accountId: string }, route: string, body: object) => {
    const content = { body: JSON.stringify(body), headers: {} };
    const sealed = await sealContent(vault, { owner: me.accountId, route, key: route }, content);
    await sql`
    insert into idempotency (account_id, route, key, request_sealed, status, answer_sealed, held_until, expires_at)
    values (${me.accountId}, ${route}, ${route}, '', 200, ${sealed}, now(), now() + interval '24 hours')`.execute(
      db(),
    );
  };

  it.each([
    ["a journal entry with an output", (me, session) => journalled(me, session, { output: "x" })],
    [
      "a journal entry with words under a known name",
      (me, session) => journalled(me, session, { outcome: "two words" }),
    ],
    [
      "a journal entry with more below a known name",
      (me, session) => journalled(me, session, { outcome: { a: 1 } }),
    ],
    ["a kept answer of a command", (me) => answered(me, "sessions.exec", { output: "" })],
    ["a kept answer of a create with more in it", (me) => answered(me, "sessions.create", { env: "A" })],
    [
      "a machine's fault",
      (_me, session) =>
        sql`update machines set fault = '{"detail":"x"}' where id = (select machine_id from sessions where id = ${session})`.execute(
          db(),
        ),
    ],
  ] satisfies [string, (me: { accountId: string }, session: string) => Promise<unknown>][])(
    "%s fails step 6 alone",
    async (_what, plant) => {
      const me = await casemate.account();
      const { session } = await opened(me);
      await plant(me, session);
      const { failed, probe, status } = await ended(me, session);
      expect(failed).toEqual([6]);
      expect(probe).toMatchObject({ observed: "1 found", ok: false });
      expect(status).toBe("expired_unclean");
    },
  );

  it("a job that says more than whose it is fails step 6 alone", async () => {
    const me = await casemate.account();
    const hook = { url: receiver.url, events: ["session.created"] };
    expect((await me("POST", "/platform/v1/webhooks", hook)).status).toBe(201);
    const { session } = await opened(me);
    const planted = async () =>
      (
        await sql`
          update casemate_jobs.job set data = data || '{"body": "x"}'
          where data->>'delivery' in (select d.id from webhook_deliveries d join journal j
            on j.account_id = d.account_id and j.seq = d.event_seq where j.subject = ${session})
          returning id`.execute(db())
      ).rows.length;
    await expect.poll(planted).toBeGreaterThan(0);
    const { failed, probe } = await ended(me, session);
    expect([failed, probe.ok]).toEqual([[6], false]);
  });

  it("of another session of another account fails nothing here", async () => {
    const [me, other] = [await casemate.account(), await casemate.account()];
    const [mine, theirs] = [await opened(me), await opened(other)];
    await journalled(other, theirs.session, { output: "x" });
    expect((await ended(me, mine.session)).failed).toEqual([]);
    expect((await ended(other, theirs.session)).failed).toEqual([6]);
  });
});

it("a key lent for its machine that still opens something fails step 5 alone", async () => {
  const me = await casemate.account();
  const { session, machine } = await opened(me);
  await lendPullKey(db(), { account: me.accountId, machine, incarnation: 1 });
  const { failed, evidence } = await ended(me, session);
  expect(failed).toEqual([5]);
  expect(evidence[4].measured.lookup_absent).toBe(false);
});

it("a host is told of its own machines only", async () => {
  const me = await casemate.account();
  const { machine } = await opened(me);
  const own = casemate.host.hostId;
  expect(await findResidues({ db: db(), vault }, own, machine)).toEqual({ rows: 0, keys: 0 });
  await expect(findResidues({ db: db(), vault }, "host_of_another", machine)).rejects.toMatchObject({
    code: "machine.unknown",
  });
  const unknown = `mach_${"0".repeat(32)}`;
  await expect(findResidues({ db: db(), vault }, own, unknown)).rejects.toMatchObject({
    code: "machine.unknown",
  });
});

/** What has a column for whom or what its rows are about. A new table fails here until somebody has thought about it. */
const JUDGED = {
  counted: ["idempotency", "journal", "machines"],
  "numbers, and words of ours from closed lists": [
    ...[
      "balances",
      "journal_checkpoints",
      "ledger_entries",
      "meters",
      "money_entries",
      "quota_counters",
      "rate_windows",
    ],
    ...["registry_usage", "sessions", "webhook_cursors", "webhook_deliveries"],
  ],
  "the proof and what it is known by, made after the look": ["proof_leaves", "proofs"],
  "never of a session": [
    "attestation_room",
    "attestations",
    "dns_challenges",
    "inference_calls",
    "instance_names",
    "instance_spares",
    "instance_tenants",
    "instances",
    "machine_leavings",
    "registry_manifests",
    "registry_repositories",
    "workloads",
  ],
  "given by the account's owner outside any session": ["api_keys", "webhook_endpoints"],
  "who people are and how they sign in": ["guesses", "outside_identities", "parties"],
};

it("every table that could hold a body is counted, or can have none of a session's", async () => {
  const { rows } = await sql<{ name: string }>`
    select distinct table_name as name from information_schema.columns
    where table_schema = 'public' and (column_name in ('account_id', 'machine_id', 'subject', 'subject_id', 'session_id')
      or table_name in ('machines', 'sessions'))
    order by 1`.execute(db());
  expect(rows.map(({ name }) => name)).toEqual(Object.values(JUDGED).flat().sort());
  const queues = await sql<{ name: string }>`select name from casemate_jobs.queue`.execute(db());
  expect(queues.rows).toEqual([{ name: "webhooks" }]);
});

async function tablesHolding(text: string): Promise<string[]> {
  const { rows: tables } = await sql<{ schema: string; name: string }>`
    select schemaname as schema, tablename as name from pg_tables
    where schemaname not in ('pg_catalog', 'information_schema')`.execute(db());
  expect(tables.length).toBeGreaterThan(30);
  const found: string[] = [];
  for (const { schema, name } of tables) {
    const { rows } = await sql<{ rows: number }>`
      select count(*)::int as rows from ${sql.id(schema, name)} t
      where position(${text} in t::text) > 0
        or position(encode(${text}::bytea, 'hex') in t::text) > 0`.execute(db());
    if (rows[0]!.rows > 0) found.push(`${schema}.${name}`);
  }
  return found;
}
