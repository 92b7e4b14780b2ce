// SPDX-License-Identifier: Apache-2.0
/** What happens to sites, servers, devices and rollouts, as it happens, and who changed what. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { Instant, nullable, Uuid } from "./vocabulary.ts";

const Pattern = Type.Optional(
  Type.String({
    maxLength: 60,
    pattern: "^(\\*|[a-z_]+\\.(\\*|[a-z_]+))$",
    description: "One type, or all of a noun: `rollout.*`",
  }),
);

export const Entry = Type.Object({
  Sequence: Type.Integer(),
  At: Instant,
  Type: Type.String(),
  Subject: Type.String({ description: "What it is about: its UUID" }),
  By: nullable(
    Type.Object(
      { ID: Type.String(), Name: nullable(Type.String({ description: "Of people, their e-mail address" })) },
      { description: "A person, a client, a server, `rollout:UUID`, or the operator" },
    ),
  ),
  Details: Type.Record(Type.String(), Type.Unknown()),
});

const base = { surface: "devices", access: "bearer", method: "GET", tag: "Events" } as const;

export const streamEvents = operation({
  ...base,
  scope: "devices:health",
  id: "devices.events.stream",
  path: "/dev/events",
  summary: "Follow what happens to sites, servers, devices and rollouts (SSE)",
  description:
    "`id:` is the sequence; resume with Last-Event-ID. Without it the stream begins with what happens next. It tells what whoever reads it may see: of devices, groups and rollouts to `devices:read` only. It ends with the event `end` after a quarter of an hour: resume then.",
  query: Type.Object({ Type: Pattern, Subject: Type.Optional(Uuid) }),
  responses: { 200: { description: "Server-sent events", mediaType: "text/event-stream" } },
  errors: [...TOKEN_ERRORS, "event.pruned"],
});

export const listAudit = operation({
  ...base,
  scope: "organization:read",
  id: "devices.audit.list",
  path: "/dev/audit",
  summary: "Who changed what, newest first",
  description:
    "Of organizations, members, partners and service tokens, models with their aliases, catalogues, sites, servers, devices, groups and rollouts; of each noun to whoever may read it. What is older than the journal's payloads are kept is not here.",
  query: Type.Object({
    ...Paging,
    Type: Pattern,
    Subject: Type.Optional(Uuid),
    By: Type.Optional(Type.String({ maxLength: 100 })),
  }),
  responses: { 200: { description: "Entries", schema: Type.Array(Entry) } },
  errors: TOKEN_ERRORS,
});
