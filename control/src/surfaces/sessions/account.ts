// SPDX-License-Identifier: Apache-2.0
/** Signing up, and what an account sees of itself. */
import type { getMe } from "#contract/sessions/account.ts";
import type { signup as signupOperation } from "#contract/sessions/signup.ts";
import { openAccount } from "../../core/identity/index.ts";
import { HELD, usedOf } from "../../core/ledger/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { tierOf } from "./tiers.ts";
import { wireTime } from "./time.ts";

/** The wire's name of an account; the core's prefix is its own. */
export const customerId = (accountId: string): string => accountId.replace(/^acct_/, "cust_");

export async function signup({ db }: Pick<Deps, "db">, call: Call<typeof signupOperation>): Promise<Answer> {
  const opened = await openAccount(db.run, {
    email: call.body.email,
    jurisdiction: call.body.jurisdiction ?? "US",
  });
  return {
    status: 201,
    body: {
      customer_id: customerId(opened.accountId),
      api_key: opened.key,
      tier: "free",
      message: "Save your API key — it cannot be retrieved later.",
    },
  };
}

export async function me(
  { db, tiers }: Pick<Deps, "db" | "tiers">,
  call: Call<typeof getMe>,
): Promise<Answer> {
  const { account, principal } = call;
  const limits = tierOf(tiers, account.tier);
  const [cdps, live] = await Promise.all([
    usedOf(db.soft, account.id, "cdps", account.cycleStart),
    usedOf(db.soft, account.id, "sessions", HELD),
  ]);
  return {
    status: 200,
    body: {
      customer_id: customerId(account.id),
      email: account.email,
      tier: account.tier,
      jurisdiction: account.jurisdiction,
      cdps_this_cycle: cdps,
      cdp_limit: limits.cdpsPerCycle,
      sessions_used: live,
      sessions_limit: limits.concurrentSessions,
      rate_limit_rpm: limits.rpm,
      billing_cycle_start: wireTime(account.cycleStart),
      api_key_prefix: principal!.keyPrefix,
    },
  };
}
