// SPDX-License-Identifier: Apache-2.0
/** What was used in the cycle that a tenant is in. The first is the seed's; by days and by instance it has none. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { enveloped, InstanceParams, Instant, Nullable } from "./vocabulary.ts";

const ANY_CALL = ["identity.unauthorized", "identity.forbidden", "limits.rate"] as const;

const Usd = (description: string) => Type.String({ pattern: "^\\d+\\.\\d{2}$", description });
const Hours = (description: string) => Type.Number({ minimum: 0, description });
const closed = { additionalProperties: false };

const CYCLE = { period_start: Instant, period_end: Instant };

const EGRESS = {
  egress_bytes: Type.Integer({
    minimum: 0,
    description: "As last observed, of what is there now; each instance's is of its life",
  }),
  egress_limit_bytes: Type.Integer({ description: "Of one instance" }),
  egress_observed_at: Nullable(Instant),
  egress_blocked: Type.Boolean(),
  egress_block_applied_at: Nullable(Instant),
};

const USE = {
  instance_hours_used: Hours("From ready until its end was wished for, or came"),
  inference_cost_usd: Usd("Through the default gateway"),
  inference_input_tokens: Type.Integer({ minimum: 0 }),
  inference_output_tokens: Type.Integer({ minimum: 0 }),
};

export const Usage = Type.Object(
  {
    pricing: Type.Object(
      {
        ...CYCLE,
        subscription_cost_usd: Usd("For the cycle"),
        instance_hours_included: Type.Integer(),
        overage_per_hour_usd: Usd("Of each hour beyond these"),
      },
      closed,
    ),
    usage: Type.Object(
      {
        instance_hours_used: Hours("Of all instances"),
        inference_cost_usd: Usd("Through the default gateway"),
        ...EGRESS,
        overage_hours: Hours("Beyond those in the subscription; not in the seed"),
        overage_cost_usd: Usd("Not in the seed"),
        total_cost_usd: Usd("Subscription, overage and inference so far; not in the seed"),
      },
      closed,
    ),
  },
  closed,
);

export const DailyUsage = Type.Object(
  {
    ...CYCLE,
    days: Type.Array(
      Type.Object({ date: Type.String({ pattern: "^\\d{4}-\\d{2}-\\d{2}$" }), ...USE }, closed),
    ),
  },
  closed,
);

export const InstanceUsage = Type.Object(
  {
    name: Type.String(),
    ...CYCLE,
    usage: Type.Object({ ...USE, ...EGRESS }, closed),
    lifetime: Type.Object(USE, closed),
  },
  closed,
);

export const getUsage = operation({
  id: "usage.get",
  surface: "instances",
  method: "GET",
  path: "/v1/usage",
  access: "key",
  scope: "instances:read",
  tag: "Usage",
  summary: "Get usage of the current cycle",
  description:
    "A cycle is a month from the instant of the tenant's signup, in UTC; who signed up on the 31st has the last day of shorter months.",
  responses: { 200: { description: "The cycle so far", schema: enveloped(Usage) } },
  errors: [...ANY_CALL, "instance.no-tenant"],
});

export const getDailyUsage = operation({
  id: "usage.daily",
  surface: "instances",
  method: "GET",
  path: "/v1/usage/daily",
  access: "key",
  scope: "instances:read",
  tag: "Usage",
  summary: "Get usage of the current cycle by days",
  description: "Days of UTC, today included; the first and the last are cut where the cycle is.",
  responses: { 200: { description: "The days so far", schema: enveloped(DailyUsage) } },
  errors: [...ANY_CALL, "instance.no-tenant"],
});

export const getInstanceUsage = operation({
  id: "instances.usage",
  surface: "instances",
  method: "GET",
  path: "/v1/instances/:name/usage",
  access: "key",
  scope: "instances:read",
  tag: "Usage",
  summary: "Get usage of one instance",
  description: "In the current cycle, and in its life.",
  params: InstanceParams,
  responses: { 200: { description: "What it used", schema: enveloped(InstanceUsage) } },
  errors: [...ANY_CALL, "instance.not-found", "instance.no-tenant"],
});
