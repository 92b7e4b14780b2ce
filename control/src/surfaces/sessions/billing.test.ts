// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FakeStripe, startFakeStripe } from "#testing/fake-stripe.ts";
import { type Installation, startInstallation } from "#testing/installation.ts";

let casemate: Installation;
let stripe: FakeStripe;
beforeAll(async () => {
  stripe = await startFakeStripe();
  casemate = await startInstallation({ withHost: false, config: { payments: stripe.config } });
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  await stripe.close();
});

const hook = (event: { body: string; signature: string }, signature = event.signature) =>
  casemate.anyone("POST", "/v1/billing/webhook", Buffer.from(event.body), { "stripe-signature": signature });
const paid = (account: string, tier = "business", options = {}) =>
  stripe.event(
    "checkout.session.completed",
    { id: "cs_1", object: "checkout.session", metadata: { account, tier } },
    options,
  );

describe("billing", () => {
  it("sends the caller to a checkout of the asked tier", async () => {
    const me = await casemate.account();
    const reply = await me("POST", "/v1/billing/checkout", { tier: "starter" });
    expect(reply.body.checkout_url).toMatch(/^https:\/\/checkout\.stripe\.com\//);
    expect(stripe.sessions.at(-1)).toMatchObject({
      "line_items[0][price]": "price_starter",
      client_reference_id: me.accountId,
    });
  });

  it("moves the tier by a signed event, once", async () => {
    const me = await casemate.account();
    const event = paid(me.accountId);
    expect((await hook(event)).status).toBe(200);
    expect((await me("GET", "/v1/customers/me")).body).toMatchObject({
      tier: "business",
      sessions_limit: 100,
      cdp_limit: null,
    });
    await hook(paid(me.accountId, "starter"));
    expect((await hook(event)).status).toBe(200);
    expect((await me("GET", "/v1/customers/me")).body.tier).toBe("starter");
  });

  it("takes no event whose signature is missing, another's, or old", async () => {
    const me = await casemate.account();
    const event = paid(me.accountId);
    const old = paid(me.accountId, "business", { atS: Math.floor(Date.now() / 1000) - 3600 });
    const forged = paid(me.accountId, "business", { secret: "whsec_other" });
    for (const reply of [await hook(event, ""), await hook(forged), await hook(old)]) {
      expect(reply.status).toBe(400);
      expect(reply.body.error).toBe("BadRequest");
    }
    expect((await me("GET", "/v1/customers/me")).body.tier).toBe("free");
  });

  it("answers 503 while Stripe fails, and works again after", async () => {
    const me = await casemate.account();
    stripe.failNext(500);
    const failed = await me("POST", "/v1/billing/checkout", { tier: "starter" });
    expect([failed.status, failed.headers.get("retry-after")]).toEqual([503, "5"]);
    expect((await me("POST", "/v1/billing/checkout", { tier: "starter" })).status).toBe(200);
  });

  it("says BillingUnavailable when it is not configured", async () => {
    await using other = await startInstallation({ withHost: false });
    const me = await other.account();
    const reply = await me("POST", "/v1/billing/checkout", { tier: "starter" });
    expect([reply.status, reply.body.error]).toEqual([503, "BillingUnavailable"]);
  });
});
