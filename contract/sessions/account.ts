// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, Jurisdiction, Nullable, Tier } from "./vocabulary.ts";

export const getMe = operation({
  id: "sessions.me",
  surface: "sessions",
  method: "GET",
  path: "/v1/customers/me",
  access: "key",
  tag: "Account",
  summary: "Account details, usage and limits",
  responses: {
    200: {
      description: "The account of this key",
      schema: Type.Object({
        customer_id: Type.String(),
        email: Type.String(),
        tier: Tier,
        jurisdiction: Jurisdiction,
        cdps_this_cycle: Type.Integer(),
        cdp_limit: Nullable(Type.Integer()),
        sessions_used: Type.Integer({ description: "Sessions live now" }),
        sessions_limit: Nullable(Type.Integer()),
        rate_limit_rpm: Nullable(Type.Integer()),
        billing_cycle_start: Instant,
        api_key_prefix: Type.String(),
      }),
    },
  },
  errors: ["identity.unauthorized", "limits.rate"],
});

export const checkout = operation({
  id: "sessions.checkout",
  surface: "sessions",
  method: "POST",
  path: "/v1/billing/checkout",
  access: "key",
  tag: "Account",
  summary: "Upgrade to a paid tier through Stripe Checkout",
  body: Type.Object({ tier: Type.Enum(["starter", "business"]) }),
  responses: {
    200: { description: "Where to pay", schema: Type.Object({ checkout_url: Type.String() }) },
  },
  errors: ["identity.unauthorized", "billing.unavailable", "billing.upstream", "limits.rate"],
  example: { body: { tier: "starter" } },
});

export const billingWebhook = operation({
  id: "sessions.billing-webhook",
  surface: "sessions",
  method: "POST",
  path: "/v1/billing/webhook",
  access: "signed",
  tag: "Account",
  summary: "Stripe's own calls",
  description: "The signature over the raw body is the credential. Idempotent by event id.",
  bodyKind: "raw",
  responses: { 200: { description: "Taken", schema: Type.Object({ received: Type.Literal(true) }) } },
  errors: ["billing.unavailable", "billing.signature"],
});
