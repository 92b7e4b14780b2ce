// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { EVENT_TYPES, EventPattern, Instant, Page } from "./vocabulary.ts";

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const Endpoint = Type.Object({
  id: Type.String({ description: "whk_ and 32 hex digits" }),
  object: Type.Enum(["webhook"]),
  url: Type.String(),
  events: Type.Array(EventPattern),
  description: Type.String(),
  disabled: Type.Boolean(),
  disabled_reason: Nullable(
    Type.Enum(["asked", "gone", "failing", "backlog"], {
      description:
        "`asked`: by you; `gone`: it answered 410; `failing`: nothing could be delivered for five days; `backlog`: too much was waiting",
    }),
  ),
  failing_since: Nullable(Instant),
  created_at: Instant,
  updated_at: Instant,
});
const Secret = Type.String({
  description: "`whsec_` and base64. Shown here and never again.",
  examples: ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
});
const url = Type.String({ minLength: 1, maxLength: 2048, description: "https, to a public address" });
const events = Type.Array(EventPattern, { minItems: 1, maxItems: EVENT_TYPES.length });
const description = Type.String({ maxLength: 256 });
const params = Type.Object({ id: Type.String({ maxLength: 64 }) });

const base = { surface: "platform", access: "account", tag: "Webhooks" } as const;
const every = ["identity.unauthorized", "request.invalid", "limits.rate"] as const;
const one = [...every, "webhook.not-found"] as const;

export const createWebhook = operation({
  ...base,
  id: "platform.webhooks.create",
  method: "POST",
  path: "/platform/v1/webhooks",
  summary: "Have events sent to an address",
  description:
    "Messages follow the Standard Webhooks specification: verify `webhook-signature` with the secret, and use `webhook-id` to drop what comes twice. The body is the event object. Anything but 2xx within 15 seconds is tried again for three days; redirects are not followed; 410 disables the webhook. The order is not promised.",
  body: Type.Object(
    {
      url,
      events: Type.Optional(events),
      description: Type.Optional(description),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: {
      description: "The webhook, with its secret",
      schema: Type.Object({ ...Endpoint.properties, secret: Secret }),
    },
  },
  errors: [...every, "webhook.limit"],
  example: { body: { url: "https://example.com/hooks", events: ["workload.*"], description: "deploys" } },
});

export const listWebhooks = operation({
  ...base,
  id: "platform.webhooks.list",
  method: "GET",
  path: "/platform/v1/webhooks",
  summary: "The account's webhooks, oldest first",
  responses: {
    200: { description: "All of them", schema: Type.Object({ webhooks: Type.Array(Endpoint) }) },
  },
  errors: ["identity.unauthorized", "limits.rate"],
});

export const getWebhook = operation({
  ...base,
  id: "platform.webhooks.get",
  method: "GET",
  path: "/platform/v1/webhooks/:id",
  summary: "One webhook",
  description: "Carries a strong ETag; If-None-Match answers 304.",
  params,
  responses: { 200: { description: "The webhook", schema: Endpoint } },
  errors: one,
});

export const updateWebhook = operation({
  ...base,
  id: "platform.webhooks.update",
  method: "PATCH",
  path: "/platform/v1/webhooks/:id",
  summary: "Change a webhook",
  description:
    "What happens while it is disabled is not sent later. What was waiting when it was disabled failed, and can be replayed.",
  params,
  body: Type.Object(
    {
      url: Type.Optional(url),
      events: Type.Optional(events),
      description: Type.Optional(description),
      disabled: Type.Optional(Type.Boolean()),
    },
    { additionalProperties: false },
  ),
  responses: { 200: { description: "The webhook", schema: Endpoint } },
  errors: one,
  example: { body: { events: ["*"], disabled: false } },
});

export const deleteWebhook = operation({
  ...base,
  id: "platform.webhooks.delete",
  method: "DELETE",
  path: "/platform/v1/webhooks/:id",
  summary: "Delete a webhook with its deliveries",
  params,
  responses: { 204: { description: "Gone" } },
  errors: one,
});

export const rotateSecret = operation({
  ...base,
  id: "platform.webhooks.rotate-secret",
  method: "POST",
  path: "/platform/v1/webhooks/:id/rotate-secret",
  summary: "Make a new secret; the old one signs beside it for 24 hours",
  params,
  responses: {
    200: {
      description: "The new secret",
      schema: Type.Object({ id: Type.String(), secret: Secret, previous_valid_until: Instant }),
    },
  },
  errors: [...one, "webhook.changed"],
});

export const testWebhook = operation({
  ...base,
  id: "platform.webhooks.test",
  method: "POST",
  path: "/platform/v1/webhooks/:id/test",
  summary: "Send a `webhook.test` there, whatever events it is for",
  params,
  responses: {
    202: {
      description: "It is on its way",
      schema: Type.Object({ event_id: Type.String(), delivery_id: Type.String() }),
    },
  },
  errors: [...one, "webhook.disabled"],
});

const Attempt = Type.Object({
  number: Type.Integer(),
  at: Instant,
  duration_ms: Type.Integer(),
  status: Nullable(Type.Integer({ description: "Null: there was no answer" })),
  obstacle: Nullable(
    Type.String({ description: "Why there was none, e.g. `forbidden`, `unresolvable`, `too-slow`" }),
  ),
});
const Delivery = Type.Object({
  id: Type.String({ description: "whd_ and 32 hex digits" }),
  event_id: Type.String(),
  event_type: Type.Enum([...EVENT_TYPES]),
  state: Type.Enum(["pending", "delivered", "failed"]),
  replay_of: Nullable(Type.String()),
  created_at: Instant,
  next_attempt_at: Nullable(Instant),
  attempts: Type.Array(Attempt),
});

export const listDeliveries = operation({
  ...base,
  id: "platform.webhooks.deliveries",
  method: "GET",
  path: "/platform/v1/webhooks/:id/deliveries",
  summary: "What was sent there and how it went, newest first",
  description: "Kept for 30 days. What the receiver answered is not kept: it may hold secrets of theirs.",
  params,
  query: Type.Object({
    ...Page,
    state: Type.Optional(Delivery.properties.state),
  }),
  responses: {
    200: {
      description: "One page",
      schema: Type.Object({ deliveries: Type.Array(Delivery), next_cursor: Nullable(Type.String()) }),
    },
  },
  errors: one,
});

export const replayDelivery = operation({
  ...base,
  id: "platform.webhooks.replay",
  method: "POST",
  path: "/platform/v1/webhooks/:id/deliveries/:delivery_id/replay",
  summary: "Send it again, under the same `webhook-id`",
  params: Type.Object({ ...params.properties, delivery_id: Type.String({ maxLength: 64 }) }),
  responses: {
    202: { description: "It is on its way", schema: Type.Object({ delivery_id: Type.String() }) },
  },
  errors: [...one, "delivery.not-found", "event.not-found", "webhook.disabled"],
});
