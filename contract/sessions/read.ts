// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { WAIT } from "../waiting.ts";
import { Nullable, Session, SessionParams, SessionStatus } from "./vocabulary.ts";

export const getSession = operation({
  id: "sessions.get",
  surface: "sessions",
  method: "GET",
  path: "/v1/sessions/:id",
  access: "key",
  tag: "Sessions",
  summary: "Get a session",
  description: "An ended session stays readable. Carries a strong ETag; If-None-Match answers 304.",
  params: SessionParams,
  query: Type.Object(WAIT),
  responses: { 200: { description: "The session", schema: Session } },
  errors: ["identity.unauthorized", "session.not-found", "limits.rate"],
});

export const listSessions = operation({
  id: "sessions.list",
  surface: "sessions",
  method: "GET",
  path: "/v1/sessions",
  access: "key",
  tag: "Sessions",
  summary: "List sessions, newest first",
  query: Type.Object({
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
    cursor: Type.Optional(Type.String({ maxLength: 256 })),
    status: Type.Optional(SessionStatus),
  }),
  responses: {
    200: {
      description: "One page",
      schema: Type.Object({ sessions: Type.Array(Session), next_cursor: Nullable(Type.String()) }),
    },
  },
  errors: ["identity.unauthorized", "request.invalid", "limits.rate"],
});

export const extendSession = operation({
  id: "sessions.extend",
  surface: "sessions",
  method: "PATCH",
  path: "/v1/sessions/:id",
  access: "key",
  tag: "Sessions",
  summary: "Extend a session's time to live",
  params: SessionParams,
  body: Type.Object({
    ttl_seconds: Type.Integer({
      minimum: 1,
      description: "The new total, counted from creation; it can only grow.",
    }),
  }),
  responses: { 200: { description: "The session", schema: Session } },
  errors: [
    "identity.unauthorized",
    "session.not-found",
    "session.ended",
    "session.ttl-too-long",
    "limits.rate",
  ],
  example: { body: { ttl_seconds: 300 } },
});

export const sessionEvents = operation({
  id: "sessions.events",
  surface: "sessions",
  method: "GET",
  path: "/v1/sessions/:id/events",
  access: "key",
  tag: "Sessions",
  summary: "Follow a session's events (SSE)",
  description: "`id:` is the sequence; resume with Last-Event-ID. The stream closes with the event `end`.",
  params: SessionParams,
  responses: { 200: { description: "Server-sent events", mediaType: "text/event-stream" } },
  errors: ["identity.unauthorized", "session.not-found", "session.gone-events", "limits.rate"],
});
