// SPDX-License-Identifier: Apache-2.0
/** Quotas and rates hold when everybody asks at once, through one control process and through two. */
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";

const FAST = {
  free: {
    ...{ rpm: 100_000, concurrentSessions: 3, ttlSeconds: 300, cdpsPerCycle: 100 },
    memoryMiB: 256,
    cpuMillis: 1000,
    pidsMax: 128,
  },
};
let casemate: Installation;
beforeAll(async () => {
  casemate = await startInstallation({ config: { sessions: { tiers: FAST } } });
});
afterAll(() => casemate[Symbol.asyncDispose]());

const counters = async (account: string) => {
  const { rows } = await sql<{ quota: string; used: number; summed: number }>`
    select c.quota, c.used, coalesce((select sum(quantity) from ledger_entries e
      where e.account_id = c.account_id and e.quota = c.quota and e.period = c.period), 0)::int as summed
    from quota_counters c where c.account_id = ${account}`.execute(casemate.control.db.run);
  return rows;
};

describe("two hundred parallel creates on a free account", () => {
  it("never hold more than three sessions", async () => {
    const me = await casemate.account();
    const replies = await Promise.all(Array.from({ length: 200 }, () => me("POST", "/v1/sessions", {})));
    const created = replies.filter(({ status }) => status === 201);
    expect(created).toHaveLength(3);
    for (const reply of replies.filter(({ status }) => status !== 201)) {
      expect([reply.status, reply.body.error]).toEqual([429, "RateLimited"]);
      expect(reply.body.message).toContain("3 concurrent sessions");
      expect(Number(reply.headers.get("retry-after"))).toBeGreaterThan(0);
    }
    const rows = await counters(me.accountId);
    for (const { used, summed } of rows) expect(used).toBe(summed);
    expect(rows.find(({ quota }) => quota === "cdps")?.used).toBe(3);
  });

  it("never pass the monthly quota, and the last refusal has the seed's sentence", async () => {
    const me = await casemate.account();
    await sql`insert into quota_counters (account_id, quota, period, used)
      select id, 'cdps', cycle_start, 98 from accounts where id = ${me.accountId}`.execute(
      casemate.control.db.run,
    );
    await sql`insert into ledger_entries (account_id, machine_id, quota, period, reason, quantity)
      select id, 'carried', 'cdps', cycle_start, 'reserved', 98 from accounts where id = ${me.accountId}`.execute(
      casemate.control.db.run,
    );
    const replies = await Promise.all(Array.from({ length: 200 }, () => me("POST", "/v1/sessions", {})));
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(2);
    const refused = await me("POST", "/v1/sessions", {});
    expect([refused.status, refused.body]).toEqual([
      402,
      {
        error: "QuotaExceeded",
        message: "Free tier limit of 100 CDPs/month exceeded. Upgrade to continue.",
        status: 402,
      },
    ]);
    for (const { used, summed } of await counters(me.accountId)) expect(used).toBe(summed);
  });

  it("hold the same from two control processes on one database", async () => {
    const { connection } = casemate;
    await using second = await startInstallation({
      config: { sessions: { tiers: FAST } },
      database: connection,
      replica: "test-2",
    });
    const me = await casemate.account();
    const there = callerOf(second.url, me.key);
    const replies = await Promise.all(
      Array.from({ length: 200 }, (_, n) => (n % 2 ? me : there)("POST", "/v1/sessions", {})),
    );
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(3);
    for (const { used, summed } of await counters(me.accountId)) expect(used).toBe(summed);
    // Each replica can end what the other one placed: the wish crosses the database.
    const ids = replies.filter(({ status }) => status === 201).map(({ body }) => body.session_id);
    for (const [n, id] of ids.entries())
      expect((await (n % 2 ? me : there)("DELETE", `/v1/sessions/${id}`)).status).toBe(200);
    expect((await me("GET", "/v1/customers/me")).body).toMatchObject({
      sessions_used: 0,
      cdps_this_cycle: 3,
    });
  });
});

describe("a session that could not start", () => {
  it("gives back its slot and its proof", async () => {
    await using small = await startInstallation({
      config: { sessions: { tiers: { free: { ...FAST.free, memoryMiB: 16_384 } } } },
    });
    const me = await small.account();
    const reply = await me("POST", "/v1/sessions", {});
    expect([reply.status, reply.body.error]).toEqual([503, "ServiceUnavailable"]);
    expect((await me("GET", "/v1/customers/me")).body).toMatchObject({
      sessions_used: 0,
      cdps_this_cycle: 0,
    });
    expect((await me("GET", "/v1/sessions")).body.sessions).toEqual([]);
  });

  it("is refused with 503 when there is no host", async () => {
    await using lonely = await startInstallation({ withHost: false });
    const me = await lonely.account();
    const reply = await me("POST", "/v1/sessions", {});
    expect(reply.status).toBe(503);
    expect(reply.headers.get("retry-after")).not.toBeNull();
  });
});

describe("rates", () => {
  it("limit a key to its tier, exactly, and tell when to come back", async () => {
    await using slow = await startInstallation({ withHost: false });
    const me = await slow.account();
    // A window may turn over in the middle; then the second one is counted.
    const burst = () => Promise.all(Array.from({ length: 70 }, () => me("GET", "/v1/customers/me")));
    const replies = await burst();
    const served = replies.filter(({ status }) => status === 200).length;
    expect(served).toBeGreaterThanOrEqual(60);
    expect(served).toBeLessThanOrEqual(70);
    const more = (await burst()).filter(({ status }) => status === 429);
    expect(more.length).toBeGreaterThanOrEqual(10);
    const limited = more[0]!;
    expect(limited.body).toMatchObject({ error: "RateLimited", status: 429 });
    expect(limited.headers.get("ratelimit-policy")).toBe('"minute";q=60;w=60');
    expect(limited.headers.get("ratelimit")).toMatch(/^"minute";r=0;t=\d+$/);
    expect(Number(limited.headers.get("retry-after"))).toBeLessThanOrEqual(60);
  });

  it("limit sign-ups of an address to ten a minute", async () => {
    await using fresh = await startInstallation({ withHost: false });
    const replies = [];
    for (let n = 0; n < 22; n++)
      replies.push((await fresh.anyone("POST", "/v1/signup", { email: `p${n}@example.com` })).status);
    expect(replies.filter((status) => status === 201).length).toBeLessThanOrEqual(20);
    expect(replies.slice(0, 10)).toEqual(Array(10).fill(201));
    expect(replies).toContain(429);
  });
});

describe("signing up", () => {
  it("takes a mailbox once, however it is written", async () => {
    await using fresh = await startInstallation({ withHost: false });
    expect((await fresh.anyone("POST", "/v1/signup", { email: "  Some.One@Example.COM " })).status).toBe(201);
    for (const email of ["Some.One@example.com", "some.one@example.com"]) {
      const again = await fresh.anyone("POST", "/v1/signup", { email });
      expect([again.status, again.body.error]).toEqual([409, "Conflict"]);
    }
    for (const email of ["", "x", "a@b", "a b@example.com", "a@-x.com", `${"a".repeat(65)}@example.com`]) {
      expect([email, (await fresh.anyone("POST", "/v1/signup", { email })).status]).toEqual([email, 400]);
    }
  });
});
