// SPDX-License-Identifier: Apache-2.0
/**
 * Upgrades through Stripe. Our ledger stays the truth: a payment moves the tier and nothing else. The
 * webhook's signature over the raw body is its only credential, and an event id counts once.
 */
import { sql } from "kysely";
import Stripe from "stripe";
import { Fault } from "#contract/errors.ts";
import type { billingWebhook, checkout as checkoutOperation } from "#contract/sessions/account.ts";
import { append } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";

export interface PaymentsConfig {
  secretKey: string;
  webhookSecret: string;
  prices: { starter: string; business: string };
  successUrl: string;
  cancelUrl: string;
  /** Another server that speaks Stripe's protocol, for tests. */
  apiBase: string | null;
}

export interface Payments {
  checkoutUrl(account: { id: string; email: string }, tier: "starter" | "business"): Promise<string>;
  /** Throws billing.signature when the signature is missing, wrong or too old. */
  event(raw: Buffer, signature: string): Stripe.Event;
}

export function openPayments(config: PaymentsConfig): Payments {
  const base = config.apiBase === null ? null : new URL(config.apiBase);
  const stripe = new Stripe(config.secretKey, {
    maxNetworkRetries: 1,
    timeout: 10_000,
    telemetry: false,
    ...(base === null
      ? {}
      : { host: base.hostname, port: base.port, protocol: base.protocol === "http:" ? "http" : "https" }),
  });
  return {
    async checkoutUrl(account, tier) {
      const session = await stripe.checkout.sessions.create({
        mode: "subscription",
        line_items: [{ price: config.prices[tier], quantity: 1 }],
        client_reference_id: account.id,
        customer_email: account.email,
        metadata: { account: account.id, tier },
        success_url: config.successUrl,
        cancel_url: config.cancelUrl,
      });
      if (session.url === null) throw new Fault("billing.upstream");
      return session.url;
    },
    event(raw, signature) {
      try {
        return stripe.webhooks.constructEvent(raw, signature, config.webhookSecret);
      } catch (cause) {
        throw new Fault("billing.signature", {}, { cause });
      }
    },
  };
}

export async function checkout(
  { payments }: Pick<Deps, "payments">,
  call: Call<typeof checkoutOperation>,
): Promise<Answer> {
  if (payments === null) throw new Fault("billing.unavailable");
  try {
    return { status: 200, body: { checkout_url: await payments.checkoutUrl(call.account, call.body.tier) } };
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    throw new Fault("billing.upstream", {}, { cause, retryAfterSeconds: 5 });
  }
}

export async function webhook(
  { payments, db }: Pick<Deps, "payments" | "db">,
  call: Call<typeof billingWebhook>,
): Promise<Answer> {
  if (payments === null) throw new Fault("billing.unavailable");
  const event = payments.event(call.raw, String(call.headers["stripe-signature"] ?? ""));
  await db.write(async (tx) => {
    const { numInsertedOrUpdatedRows } = await tx
      .insertInto("payment_events")
      .values({ id: event.id, type: event.type })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirstOrThrow();
    if (numInsertedOrUpdatedRows !== 1n || event.type !== "checkout.session.completed") return;
    const { account, tier } = event.data.object.metadata ?? {};
    if (account === undefined || (tier !== "starter" && tier !== "business")) return;
    const { rows } = await sql<{ id: string }>`
      update accounts set tier = ${tier} where id = ${account} returning id`.execute(tx);
    if (rows.length === 0) return;
    await append(tx, {
      account,
      type: "account.tier_changed",
      subject: account,
      payload: { tier, payment_event: event.id },
    });
  });
  return { status: 200, body: { received: true } };
}
