// SPDX-License-Identifier: Apache-2.0
/** Words of the platform surface that more than one operation uses. */
import { Type } from "typebox";

export const Instant = Type.String({
  description: "UTC, ISO 8601",
  examples: ["2026-03-01T14:00:00.123Z"],
  pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$",
});
export const Page = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
  cursor: Type.Optional(Type.String({ maxLength: 256 })),
};

/** All that is ever told of an account; a client may rely on there being no other word. */
export const EVENT_TYPES = [
  "session.created",
  "session.extended",
  "session.exec_ended",
  "session.destroyed",
  "session.expired",
  "session.expired_unclean",
  "session.failed",
  "workload.created",
  "workload.starting",
  "workload.restarting",
  "workload.running",
  "workload.stopping",
  "workload.stopped",
  "workload.failed",
  "workload.deleted",
  "instance.created",
  "instance.ready",
  "instance.stopping",
  "instance.stopped",
  "instance.starting",
  "instance.restarting",
  "instance.running",
  "instance.key_replaced",
  "instance.key_applied",
  "instance.failed",
  "instance.egress_blocked",
  "instance.terminating",
  "instance.terminated",
  "attestation.accepted",
  "attestation.refused",
  "attestation.revoked",
  "account.balance_low",
  "account.balance_exhausted",
  "account.tier_changed",
  "webhook.disabled",
  "webhook.test",
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

const groups = [...new Set(EVENT_TYPES.map((type) => `${type.split(".")[0]}.*`))];
/** What can be asked for: one type, all of a noun, or everything. */
export const EventPattern = Type.Enum(["*", ...groups, ...EVENT_TYPES]);

export const typesMatching = (patterns: readonly string[]): EventType[] =>
  EVENT_TYPES.filter((type) =>
    patterns.some((pattern) => pattern === "*" || pattern === type || pattern === `${type.split(".")[0]}.*`),
  );
