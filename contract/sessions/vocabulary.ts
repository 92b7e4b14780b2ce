// SPDX-License-Identifier: Apache-2.0
/** Words of the sessions surface that more than one operation uses. Source: the sessions seed. */
import { type Static, Type } from "typebox";

export const Jurisdiction = Type.Enum(["US", "EU", "UK", "CA", "AU", "IN", "OTHER"]);
export const Classification = Type.Enum(["general", "PHI", "PII", "financial", "credentials"]);
export const Tier = Type.Enum(["free", "starter", "business", "enterprise"]);
export const SessionStatus = Type.Enum(["active", "executing", "destroyed", "expired", "expired_unclean"]);

export const SessionId = Type.String({
  description: "sess_ and 32 hex digits",
  examples: ["sess_a8f3e71c…"],
});
export const Instant = Type.String({
  description: "UTC, whole seconds",
  examples: ["2026-03-01T14:00:00Z"],
  pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$",
});
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

/** Null means unlimited. */
export const TtlSeconds = Nullable(Type.Integer({ minimum: 1 }));

export const Session = Type.Object({
  session_id: SessionId,
  status: SessionStatus,
  ttl_seconds: TtlSeconds,
  created_at: Instant,
  data_classification: Classification,
  expires_at: Type.Optional(Instant),
  ended_at: Type.Optional(Instant),
  end_reason: Type.Optional(Type.Enum(["api", "ttl", "oom", "shutdown", "recovery"])),
});

export const SessionParams = Type.Object({ id: Type.String({ maxLength: 64 }) });

export const ErrorBody = Type.Object({
  error: Type.String({ examples: ["NotFound"] }),
  message: Type.String(),
  status: Type.Integer(),
});

export type Jurisdiction = Static<typeof Jurisdiction>;
export type Classification = Static<typeof Classification>;
export type Tier = Static<typeof Tier>;
export type SessionStatus = Static<typeof SessionStatus>;
export { Nullable };
