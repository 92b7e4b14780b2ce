// SPDX-License-Identifier: Apache-2.0
/**
 * Webhooks when processes die with -9, when there are several, and when a name answers differently each
 * time it is asked. 127.0.0.9 stands for the public internet, 127.0.0.1 for our own services.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ClonedDatabase, cloneDatabase } from "#testing/clone-database.ts";
import { freePort } from "#testing/free-port.ts";
import { callerOf, startInstallation } from "#testing/installation.ts";
import { startReceiver } from "#testing/webhook-receiver.ts";
import { openAccount } from "../../core/identity/index.ts";
import { later, serve, ZONE } from "../../core/ingress/testing.ts";
import { append } from "../../core/journal/index.ts";
import { type Database, openDatabase } from "../../database/open.ts";

const PUBLIC = "127.0.0.9";
const OURS = "127.0.0.1";
const WEBHOOKS = {
  ...{ allowHttp: true, allowNetworks: [PUBLIC], resolvers: [] as string[] },
  ...{ endpointsMax: 3, timeoutMs: 1_000, retryFirstMs: 1 },
};
const WAIT = { timeout: 25_000, interval: 50 };
const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const disposed = async <T extends AsyncDisposable>(made: Promise<T>): Promise<T> => {
  const one = await made;
  later(() => one[Symbol.asyncDispose]());
  return one;
};
const low = (db: Database, account: string, n: number) =>
  db.write((tx) =>
    append(tx, { account, type: "balance.low", subject: account, payload: { balance_micros: n } }),
  );

describe("a control process that is killed with -9", () => {
  let cloned: ClonedDatabase;
  let db: Database;
  let folder: string;
  let port: number;
  let child: ChildProcess | null = null;
  let account: { accountId: string; key: string };

  beforeEach(async () => {
    cloned = await cloneDatabase();
    db = await openDatabase({ connection: { ...cloned }, poolMax: 4, onError: () => {} });
    folder = mkdtempSync(join(tmpdir(), "casemate-hooks-"));
    port = await freePort();
    account = await openAccount(db.run, { email: "hooked@example.com", jurisdiction: "US" });
  });
  afterEach(async () => {
    await kill();
    await db.close();
    await cloned[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const me = () => callerOf(`http://127.0.0.1:${port}`, account.key);
  async function begin() {
    const file = join(folder, "control.json");
    writeFileSync(
      file,
      JSON.stringify({
        http: { port },
        database: { socket: cloned.host, user: cloned.user, name: cloned.database },
        link: { socket: join(folder, "link.sock") },
        ...{ folder, webhooks: WEBHOOKS, log: { level: "error" } },
      }),
    );
    child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, file], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const answers = () =>
      fetch(`http://127.0.0.1:${port}/livez`).then(
        ({ ok }) => ok,
        () => false,
      );
    await expect.poll(answers, WAIT).toBe(true);
  }
  async function kill() {
    if (child === null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
    child = null;
  }
  const hook = async (url: string) => (await me()("POST", "/platform/v1/webhooks", { url })).body;

  it("between the event and its fan-out loses nothing", async () => {
    const there = await disposed(startReceiver({ host: PUBLIC }));
    await begin();
    const { secret } = await hook(there.url);
    await kill();
    for (let n = 0; n < 3; n++) await low(db, account.accountId, n);
    await begin();
    await expect.poll(() => there.received.length, WAIT).toBe(3);
    for (const each of there.received) there.verify(each, secret);
  });

  it("between the commit of a delivery and its sending sends it later", async () => {
    const there = await startReceiver({ host: PUBLIC });
    await begin();
    await hook(there.url);
    // With nobody there the delivery is committed, tried, and waits for its next try.
    await there[Symbol.asyncDispose]();
    await low(db, account.accountId, 1);
    const state = async () => {
      const { rows } = await sql<{ state: string }>`select state from webhook_deliveries`.execute(db.run);
      return rows[0]?.state;
    };
    await expect.poll(state, WAIT).toBe("pending");
    await kill();
    const back = await disposed(startReceiver({ host: PUBLIC, port: there.port }));
    await sleep(300);
    expect(back.received).toHaveLength(0);
    await begin();
    await expect.poll(state, WAIT).toBe("delivered");
    expect(back.received).toHaveLength(1);
  });

  it("between sending and the answer sends the same again, under the same id", async () => {
    let answers = false;
    const there = await disposed(
      startReceiver({ host: PUBLIC, answer: () => (answers ? undefined : "handled") }),
    );
    await begin();
    const { id, secret } = await hook(there.url);
    await low(db, account.accountId, 1);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    await kill();
    answers = true;
    await begin();
    await expect.poll(() => there.received.length, WAIT).toBe(2);
    const [first, second] = there.received;
    expect([second!.id, second!.body]).toEqual([first!.id, first!.body]);
    there.verify(second!, secret);
    const { deliveries } = (await me()("GET", `/platform/v1/webhooks/${id}/deliveries`)).body;
    expect(deliveries).toHaveLength(1);
    await sleep(2_500);
    expect(there.received).toHaveLength(2);
  });
});

describe("replicas on one database", () => {
  it("send everything once, whoever of them heard of it", async () => {
    const there = await disposed(startReceiver({ host: PUBLIC }));
    const config = { webhooks: WEBHOOKS, sessions: { tiers: { free: { rpm: null } } } };
    const one = await disposed(startInstallation({ withHost: false, config, replica: "one" }));
    const two = await disposed(
      startInstallation({ withHost: false, config, replica: "two", database: one.connection }),
    );
    const me = await one.account();
    const { body } = await callerOf(two.url, me.key)("POST", "/platform/v1/webhooks", { url: there.url });
    const databases = [one.control.db, two.control.db];
    await Promise.all(Array.from({ length: 60 }, (_, n) => low(databases[n % 2]!, me.accountId, n)));
    await expect.poll(() => there.received.length, WAIT).toBeGreaterThanOrEqual(60);
    await sleep(1_500);
    expect(there.received).toHaveLength(60);
    expect(new Set(there.received.map(({ id }) => id)).size).toBe(60);
    for (const each of there.received) there.verify(each, body.secret);
  });

  it("are none the worse for a job that was lost", async () => {
    const there = await disposed(startReceiver({ host: PUBLIC, answer: () => "handled" }));
    const casemate = await disposed(startInstallation({ withHost: false, config: { webhooks: WEBHOOKS } }));
    const { db } = casemate.control;
    const me = await casemate.account();
    const { id } = (await me("POST", "/platform/v1/webhooks", { url: there.url })).body;
    await low(db, me.accountId, 1);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    await sql`delete from casemate_jobs.job`.execute(db.run);
    await sql`update webhook_deliveries set attempts = attempts + 1, next_at = now() - interval '11 minutes' where endpoint_id = ${id}`.execute(
      db.run,
    );
    await expect.poll(() => there.received.length, WAIT).toBe(2);
  });
});

describe("a queue", () => {
  it("that holds a try twice, and one that was made, sends each once", async () => {
    const there = await disposed(startReceiver({ host: PUBLIC }));
    const casemate = await disposed(startInstallation({ withHost: false, config: { webhooks: WEBHOOKS } }));
    const { db } = casemate.control;
    const me = await casemate.account();
    await me("POST", "/platform/v1/webhooks", { url: there.url });
    await low(db, me.accountId, 1);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    const again = await sql`
      insert into casemate_jobs.job (name, data, group_id, retry_limit, expire_seconds)
      select name, data, group_id, retry_limit, expire_seconds from casemate_jobs.job`.execute(db.run);
    expect(again.numAffectedRows).toBe(1n);
    // Something else is due, so the queue is looked at.
    await low(db, me.accountId, 2);
    const { rows } = await sql<{ n: number }>`select count(*)::int as n from casemate_jobs.job`.execute(
      db.run,
    );
    expect(rows[0]!.n).toBeGreaterThanOrEqual(2);
    const open = async () => {
      const left = await sql`select from casemate_jobs.job where state <> 'completed'`.execute(db.run);
      return left.rows.length;
    };
    await expect.poll(open, WAIT).toBe(0);
    await sleep(300);
    expect(there.received).toHaveLength(2);
  });

  it("of an account whose receivers all hang leaves slots to others", async () => {
    const hangs = await disposed(startReceiver({ host: PUBLIC, answer: () => "handled" }));
    const well = await disposed(startReceiver({ host: PUBLIC }));
    const config = {
      webhooks: { ...WEBHOOKS, endpointsMax: 40, timeoutMs: 4_000 },
      sessions: { tiers: { free: { rpm: null } } },
    };
    const casemate = await disposed(startInstallation({ withHost: false, config }));
    const { db } = casemate.control;
    const [me, other] = [await casemate.account(), await casemate.account()];
    for (let n = 0; n < 40; n++) await me("POST", "/platform/v1/webhooks", { url: hangs.url });
    await other("POST", "/platform/v1/webhooks", { url: well.url });
    for (let n = 0; n < 4; n++) await low(db, me.accountId, n);
    await expect.poll(() => hangs.open(), WAIT).toBeGreaterThanOrEqual(8);
    await low(db, other.accountId, 1);
    await expect.poll(() => well.received.length, WAIT).toBe(1);
    expect(hangs.open()).toBeLessThanOrEqual(11);
  });
});

describe("a name that answers differently each time", () => {
  it("is connected to where it was checked, and not at all once it leads inside", async () => {
    const there = await disposed(startReceiver({ host: PUBLIC }));
    const inside = await disposed(startReceiver({ host: OURS, port: there.port }));
    const answers = [PUBLIC, OURS];
    let asked = 0;
    const names = await serve({
      lookup: async (_name, type) => {
        if (type !== "A") return [];
        const address = answers[Math.min(asked++, answers.length - 1)]!;
        return [{ type: "A", address }];
      },
    });
    const config = { webhooks: { ...WEBHOOKS, resolvers: [`127.0.0.1:${names.port}`] } };
    const casemate = await disposed(startInstallation({ withHost: false, config }));
    const me = await casemate.account();
    const url = `http://rebind.${ZONE.origin}:${there.port}/`;
    const { id } = (await me("POST", "/platform/v1/webhooks", { url })).body;
    const { db } = casemate.control;
    await low(db, me.accountId, 1);
    await expect.poll(() => there.received.length, WAIT).toBe(1);
    expect(asked).toBe(1);
    await low(db, me.accountId, 2);
    const newest = async () =>
      (await me("GET", `/platform/v1/webhooks/${id}/deliveries?limit=1`)).body.deliveries[0];
    await expect
      .poll(async () => (await newest()).attempts[0], WAIT)
      .toMatchObject({
        status: null,
        obstacle: "forbidden",
      });
    expect(inside.received).toHaveLength(0);
    expect(there.received).toHaveLength(1);
  });
});
