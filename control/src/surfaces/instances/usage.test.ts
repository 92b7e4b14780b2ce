// SPDX-License-Identifier: Apache-2.0
/** Usage as it is answered, from rows that stand in the database as they are written there; what writes them is in instances.test.ts. */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { pruneCalls } from "../inference/calls.ts";
import { CLOSE_PERIOD, closeLeftOpen, OPEN_PERIOD } from "./periods.ts";

let casemate: Installation;
let admin: Caller;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false, config: { instances: { requestsPerMinute: null } } });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const db = () => casemate.control.db.run;
const hex = () => randomBytes(16).toString("hex");
let tenants = 0;
/** Signed up so long ago, by the database's clock. */
async function tenant(ago: string): Promise<{ caller: Caller; account: string }> {
  const { body } = await admin("POST", "/platform/v1/tenants", { name: `usage ${++tenants}` });
  await sql`update instance_tenants set signed_up_at = date_trunc('seconds', now() - ${ago}::interval)
    where account_id = ${body.account_id}`.execute(db());
  return { caller: callerOf(casemate.url, body.api_key), account: body.account_id };
}

async function instance(account: string, name = hex().slice(0, 8)): Promise<{ id: string; name: string }> {
  const [id, machine] = [`inst_${hex()}`, `mach_${hex()}`];
  await sql`insert into machines (id, account_id, surface, host_id, spec, created_at)
    values (${machine}, ${account}, 'instances', 'none', '{"isolation":"vm"}', now())`.execute(db());
  await sql`insert into instances (id, account_id, machine_id, name, hostname, agent, public_key, inference_mode,
      egress_limit_bytes, image_sha256)
    values (${id}, ${account}, ${machine}, ${name}, 'x', 'none', 'x', 'default_gateway', 5, ${"0".repeat(64)})`.execute(
    db(),
  );
  return { id, name };
}

/** From so long ago until so long ago; null: until now. */
const counted = (id: string, from: string, to: string | null) =>
  sql`insert into instance_periods (instance_id, from_at, to_at)
    values (${id}, now() - ${from}::interval, now() - ${to}::interval)`.execute(db());

const asked = (account: string, id: string, ago: string, costMicros: number) =>
  sql`insert into inference_calls (id, account_id, instance_id, operation, model, upstream, held_micros, ended_at, outcome,
      input_tokens, output_tokens, cost_micros)
    values (${`inf_${hex()}`}, ${account}, ${id}, 'chat', 'm', 'u', 0, now() - ${ago}::interval, 'answered', 7, 3, ${costMicros})`.execute(
    db(),
  );

const usageOf = async (caller: Caller) => {
  const { status, body } = await caller("GET", "/v1/usage");
  expect(status).toBe(200);
  return body.data;
};

describe("usage", () => {
  it("has the seed's members in its order and forms, and what is ours behind them", async () => {
    const { caller } = await tenant("5 days");
    const { pricing, usage } = await usageOf(caller);
    expect(Object.keys(pricing)).toEqual([
      ...[
        "period_start",
        "period_end",
        "subscription_cost_usd",
        "instance_hours_included",
        "overage_per_hour_usd",
      ],
    ]);
    expect(Object.keys(usage).slice(0, 7)).toEqual([
      ...["instance_hours_used", "inference_cost_usd", "egress_bytes", "egress_limit_bytes"],
      ...["egress_observed_at", "egress_blocked", "egress_block_applied_at"],
    ]);
    expect(pricing).toMatchObject({
      ...{ subscription_cost_usd: "200.00", instance_hours_included: 200, overage_per_hour_usd: "0.45" },
    });
    expect(usage).toMatchObject({
      ...{ instance_hours_used: 0, inference_cost_usd: "0.00", egress_limit_bytes: 5368709120 },
      ...{ overage_hours: 0, overage_cost_usd: "0.00", total_cost_usd: "200.00" },
    });
    for (const [name, value] of Object.entries({ ...pricing, ...usage }))
      expect([name, typeof value === "string" && /^\d+\.\d\d$/.test(value)]).toEqual([
        name,
        /_usd$/.test(name),
      ]);
    const days = (Date.parse(pricing.period_end) - Date.parse(pricing.period_start)) / 86_400_000;
    expect([28, 29, 30, 31]).toContain(days);
  });

  it("counts what lies in the cycle alone, an instance that is there until now, and another tenant's never", async () => {
    const { caller, account } = await tenant("10 days");
    const [one, two] = [await instance(account), await instance(account)];
    // Before the signup there was no cycle: as of one that was before this.
    await counted(one.id, "12 days", "9 days");
    await counted(one.id, "8 days", "7 days 12 hours");
    await counted(two.id, "2 hours", null);
    await asked(account, one.id, "11 days", 5_000_000);
    await asked(account, one.id, "9 days", 1_234_000);
    await asked(account, two.id, "1 minute", 6_000);
    const stranger = await tenant("10 days");
    const theirs = await instance(stranger.account);
    await counted(theirs.id, "3 days", null);
    await asked(stranger.account, theirs.id, "1 day", 9_000_000);

    const { usage } = await usageOf(caller);
    expect(usage.instance_hours_used).toBeGreaterThanOrEqual(24 + 12 + 2);
    expect(usage.instance_hours_used).toBeLessThan(24 + 12 + 2.1);
    expect(usage.inference_cost_usd).toBe("1.24");
    expect(usage.total_cost_usd).toBe("201.24");

    const { body } = await caller("GET", `/v1/instances/${one.name}/usage`);
    expect(body.data).toMatchObject({
      name: one.name,
      usage: { inference_cost_usd: "1.23", inference_input_tokens: 7, inference_output_tokens: 3 },
      lifetime: { instance_hours_used: 84, inference_cost_usd: "6.23", inference_input_tokens: 14 },
    });
    expect(body.data.usage.instance_hours_used).toBeCloseTo(36, 1);
    expect((await stranger.caller("GET", `/v1/instances/${one.name}/usage`)).body.error.code).toBe(
      "not_found",
    );
  });

  it("charges hours beyond those in the subscription", async () => {
    const { caller, account } = await tenant("20 days");
    for (let n = 0; n < 3; n++) await counted((await instance(account)).id, "10 days", "6 days");
    const { usage } = await usageOf(caller);
    expect([usage.instance_hours_used, usage.overage_hours]).toEqual([288, 88]);
    expect([usage.overage_cost_usd, usage.total_cost_usd]).toEqual(["39.60", "239.60"]);
  });

  it("by days adds up to the cycle's, and is none before the signup", async () => {
    const { caller, account } = await tenant("6 days");
    const { id } = await instance(account);
    await counted(id, "5 days 3 hours", "1 hour");
    await asked(account, id, "2 days", 4_000_000);
    const { body } = await caller("GET", "/v1/usage/daily");
    const { days, period_start } = body.data;
    expect([7, 8]).toContain(days.length);
    expect(days[0].date).toBe(period_start.slice(0, 10));
    expect(new Set(days.map(({ date }: { date: string }) => date)).size).toBe(days.length);
    const sum = days.reduce(
      (all: number, day: { instance_hours_used: number }) => all + day.instance_hours_used,
      0,
    );
    expect(sum).toBeCloseTo(122, 2);
    expect(Math.max(...days.map((day: { instance_hours_used: number }) => day.instance_hours_used))).toBe(24);
    expect(
      days.filter((day: { inference_cost_usd: string }) => day.inference_cost_usd === "4.00"),
    ).toHaveLength(1);
  });

  it("of calls that are too old to be kept is what it was, in each cycle and in a life, however often they are forgotten", async () => {
    const { caller, account } = await tenant("50 days");
    const { id, name } = await instance(account);
    for (const [ago, micros] of [
      ["500 days", 1_000_000],
      ["500 days", 20_000],
      ["470 days 5 hours", 300_000],
      ["40 days", 4_000_000],
      ["2 days", 50_000_000],
    ] as const)
      await asked(account, id, ago, micros);
    // One that goes on is not forgotten.
    await sql`insert into inference_calls (id, account_id, instance_id, operation, model, upstream, held_micros, started_at)
      values (${`inf_${hex()}`}, ${account}, ${id}, 'chat', 'm', 'u', 0, now() - interval '500 days')`.execute(
      db(),
    );
    const seen = async () => [
      (await caller("GET", `/v1/instances/${name}/usage`)).body.data.lifetime,
      (await usageOf(caller)).usage.inference_cost_usd,
      (await caller("GET", "/v1/usage/daily")).body.data,
    ];
    const before = await seen();
    expect(before[0]).toMatchObject({ inference_cost_usd: "55.32", inference_input_tokens: 35 });
    const kept = async () =>
      (
        await sql<{ calls: number; past: number }>`
          select (select count(*)::int from inference_calls where instance_id = ${id}) as calls,
            (select coalesce(sum(calls), 0)::int from inference_past where instance_id = ${id}) as past`.execute(
          db(),
        )
      ).rows[0];
    for (const [days, calls, past] of [
      [400, 3, 3],
      [400, 3, 3],
      [33, 2, 4],
    ] as const) {
      await Promise.all([pruneCalls(db(), days), pruneCalls(db(), days)]);
      expect(await kept()).toEqual({ calls, past });
      expect(await seen()).toEqual(before);
    }
  });

  it("is not for an account that is no tenant", async () => {
    const { caller, account } = await tenant("1 day");
    await sql`delete from instance_tenants where account_id = ${account}`.execute(db());
    for (const path of ["/v1/usage", "/v1/usage/daily"])
      expect((await caller("GET", path)).body.error.code).toBe("forbidden");
  });
});

describe("intervals of one instance", () => {
  const subject = (id: string) => sql`subject as (select id from instances where id = ${id})`;
  const open = (id: string) => sql`with ${subject(id)}, ${OPEN_PERIOD} select`.execute(db());
  const close = (id: string) => sql`with ${subject(id)}, ${CLOSE_PERIOD} select`.execute(db());
  const all = async (id: string) =>
    (
      await sql<{ overlaps: boolean; open: boolean }>`
        select to_at is null as open, from_at <= lag(to_at) over (order by from_at) as overlaps
        from instance_periods where instance_id = ${id} order by from_at`.execute(db())
    ).rows;

  it("are opened once however often and at once it is said, and closed once", async () => {
    const { id } = await instance((await tenant("1 day")).account);
    await close(id);
    await Promise.all(Array.from({ length: 5 }, () => open(id)));
    expect(await all(id)).toEqual([{ open: true, overlaps: null }]);
    await Promise.all([close(id), close(id)]);
    await open(id);
    expect(await all(id)).toEqual([
      { open: false, overlaps: null },
      { open: true, overlaps: false },
    ]);
  });

  it("that came while the end was wished for are closed, and those of one that is there are not", async () => {
    const { id } = await instance((await tenant("1 day")).account);
    await open(id);
    await closeLeftOpen(db(), id);
    expect(await all(id)).toEqual([{ open: true, overlaps: null }]);
    await sql`update instances set status = 'terminating' where id = ${id}`.execute(db());
    await closeLeftOpen(db(), id);
    expect(await all(id)).toEqual([{ open: false, overlaps: null }]);
  });

  it("bill no hour twice when the database's clock is set back over a stop", async () => {
    const { id } = await instance((await tenant("1 day")).account);
    await counted(id, "1 hour", "-2 hours");
    await open(id);
    await close(id);
    await open(id);
    expect(await all(id)).toEqual([
      { open: false, overlaps: null },
      { open: false, overlaps: false },
      { open: true, overlaps: false },
    ]);
  });
});
