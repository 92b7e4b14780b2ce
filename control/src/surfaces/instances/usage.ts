// SPDX-License-Identifier: Apache-2.0
/** What a tenant used in the cycle that it is in: in all, by days, and of one instance. The numbers that a bill is made of. */
import { sql } from "kysely";
import type { Static } from "typebox";
import { Fault } from "#contract/errors.ts";
import type {
  getDailyUsage,
  getInstanceUsage,
  getUsage,
  InstanceUsage,
  Usage,
} from "#contract/instances/usage.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { hoursOf, overageMicrosOf, overageMsOf, usdOf } from "./bill.ts";
import { cycleAt, daysOf, type Window } from "./cycles.ts";
import type { Deps } from "./deps.ts";
import { type EgressRow, egressOfActive, viewEgress } from "./egress.ts";
import { instant } from "./instant.ts";
import { requireInstance } from "./rows.ts";
import { type Used, usedIn } from "./used.ts";

type Needs = Pick<Deps, "db" | "instances">;

export async function usage({ db, instances }: Needs, call: Call<typeof getUsage>): Promise<Answer> {
  const { account, now } = call;
  const cycle = await requireCycle(db.soft, account.id, now);
  const [used] = await usedIn(db.soft, { account: account.id, instance: null, windows: [cycle], now });
  const { pricing, egressLimitBytes } = instances;
  const { ms, inferenceMicros } = used!;
  const overageMicros = overageMicrosOf(ms, pricing);
  const body: Static<typeof Usage> = {
    pricing: {
      ...shownCycle(cycle),
      subscription_cost_usd: usdOf(pricing.subscriptionMicros),
      instance_hours_included: pricing.hoursIncluded,
      overage_per_hour_usd: usdOf(pricing.overageMicrosPerHour),
    },
    usage: {
      instance_hours_used: hoursOf(ms),
      inference_cost_usd: usdOf(inferenceMicros),
      ...shownEgress(await egressOfActive(db.soft, account.id), egressLimitBytes),
      overage_hours: hoursOf(overageMsOf(ms, pricing)),
      overage_cost_usd: usdOf(overageMicros),
      total_cost_usd: usdOf(pricing.subscriptionMicros + overageMicros + inferenceMicros),
    },
  };
  return { status: 200, body };
}

export async function dailyUsage({ db }: Needs, call: Call<typeof getDailyUsage>): Promise<Answer> {
  const { account, now } = call;
  const cycle = await requireCycle(db.soft, account.id, now);
  const windows = daysOf(cycle, now);
  const used = await usedIn(db.soft, { account: account.id, instance: null, windows, now });
  const days = windows.map(({ start }, at) => ({
    date: start.toISOString().slice(0, 10),
    ...shownUse(used[at]!),
  }));
  return { status: 200, body: { ...shownCycle(cycle), days } };
}

export async function instanceUsage({ db }: Needs, call: Call<typeof getInstanceUsage>): Promise<Answer> {
  const { account, now } = call;
  const row = await requireInstance(db.soft, account.id, call.params.name);
  const cycle = await requireCycle(db.soft, account.id, now);
  const life: Window = { start: new Date(0), end: new Date(now.getTime() + 1) };
  const ask = { account: account.id, instance: row.id, windows: [cycle, life], now };
  const [inCycle, inAll] = await usedIn(db.soft, ask);
  const body: Static<typeof InstanceUsage> = {
    ...{ name: row.name, ...shownCycle(cycle) },
    usage: { ...shownUse(inCycle!), ...shownEgress(row, row.egress_limit_bytes) },
    lifetime: shownUse(inAll!),
  };
  return { status: 200, body };
}

/** By the database's clock, which recognised the caller. */
async function requireCycle(db: Db, account: string, now: Date): Promise<Window> {
  const { rows } = await sql<{ signed_up_at: Date }>`
    select signed_up_at from instance_tenants where account_id = ${account}`.execute(db);
  if (rows[0] === undefined) throw new Fault("instance.no-tenant");
  return cycleAt(rows[0].signed_up_at, now);
}

const shownCycle = ({ start, end }: Window) => ({ period_start: instant(start), period_end: instant(end) });

const shownUse = ({ ms, inferenceMicros, inputTokens, outputTokens }: Used) => ({
  instance_hours_used: hoursOf(ms),
  inference_cost_usd: usdOf(inferenceMicros),
  inference_input_tokens: inputTokens,
  inference_output_tokens: outputTokens,
});

const shownEgress = (row: EgressRow, limitBytes: number) => ({
  egress_bytes: row.egress_bytes,
  egress_limit_bytes: limitBytes,
  ...viewEgress(row),
});
