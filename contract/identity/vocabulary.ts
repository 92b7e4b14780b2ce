// SPDX-License-Identifier: Apache-2.0
/** Words that all surfaces with access tokens use: identity, models, devices. Their members are in PascalCase. */
import { Type } from "typebox";

export const Uuid = Type.String({
  pattern: "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
});
export const Instant = Type.String({
  description: "UTC, ISO 8601",
  examples: ["2026-03-01T14:00:00.123Z"],
  pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$",
});
/** What people call a thing: no control characters, something to see. */
export const Name = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: "^[^\\p{Cc}]*[^\\p{Cc}\\s][^\\p{Cc}]*$",
});

/** Every list takes these; all that match are counted in X-Pagination-Records. */
export const Paging = {
  limit: Type.Optional(Type.Integer({ minimum: 1, description: "50 unless given; above 500 it is 500" })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_147_483_647 })),
  OrderBy: Type.Optional(
    Type.String({ maxLength: 64, description: "A member's name; with `-` before it, downwards" }),
  ),
};

export const ErrorBody = Type.Object({
  Message: Type.String(),
  Field: Type.Optional(Type.Object({ Name: Type.String(), Message: Type.String() })),
  AuthorizationInvalid: Type.Optional(Type.Boolean()),
  UUID: Type.Optional(Type.String()),
  Code: Type.String({ description: "Stable; of a closed vocabulary" }),
  RequestID: Type.String(),
});

/** What any call with a token may be answered. */
export const TOKEN_ERRORS = [
  "identity.token",
  "identity.not-a-member",
  "identity.scope",
  "request.invalid",
  "limits.rate",
] as const;

/** What an operation may ask of whoever acts. */
export const SCOPES = [
  "organization:read",
  "organization:write",
  "models:read",
  "models:write",
  /** How sites, servers and devices are; nothing of what runs on them. */
  "devices:health",
  "devices:read",
  "devices:write",
  "subscriptions:read",
  "subscriptions:write",
] as const;
