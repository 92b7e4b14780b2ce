// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { EVENT_TYPES, EventPattern, Instant, Page } from "./vocabulary.ts";

export const Event = Type.Object({
  id: Type.String({ description: "evt_ and 32 hex digits; the `webhook-id` of its deliveries" }),
  object: Type.Enum(["event"]),
  type: Type.Enum([...EVENT_TYPES]),
  created_at: Instant,
  data: Type.Record(Type.String(), Type.Unknown()),
});

const base = {
  surface: "platform",
  method: "GET",
  access: "account",
  tag: "Events",
} as const;

export const listEvents = operation({
  ...base,
  id: "platform.events.list",
  path: "/platform/v1/events",
  summary: "What happened to the account, newest first",
  description: "Events stay readable for 30 days. They hold no secret and no body of yours.",
  query: Type.Object({ ...Page, type: Type.Optional(EventPattern) }),
  responses: {
    200: {
      description: "One page",
      schema: Type.Object({
        events: Type.Array(Event),
        next_cursor: Type.Union([Type.String(), Type.Null()]),
      }),
    },
  },
  errors: ["identity.unauthorized", "request.invalid", "limits.rate"],
});

export const getEvent = operation({
  ...base,
  id: "platform.events.get",
  path: "/platform/v1/events/:id",
  summary: "One event",
  params: Type.Object({ id: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "The event", schema: Event } },
  errors: ["identity.unauthorized", "event.not-found", "limits.rate"],
});

export const streamEvents = operation({
  ...base,
  id: "platform.events.stream",
  path: "/platform/v1/events/stream",
  summary: "Follow the account's events (SSE)",
  description:
    "`id:` is the sequence; resume with Last-Event-ID. Without it the stream begins with what happens next. It ends with the event `end` after an hour: resume then.",
  query: Type.Object({ type: Type.Optional(EventPattern) }),
  responses: { 200: { description: "Server-sent events", mediaType: "text/event-stream" } },
  errors: ["identity.unauthorized", "request.invalid", "event.pruned", "limits.rate"],
});
