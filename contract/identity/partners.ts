// SPDX-License-Identifier: Apache-2.0
/** Channel partners, and what organizations let them do. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, Paging, TOKEN_ERRORS, Uuid } from "./vocabulary.ts";

const AccessLevel = Type.Enum([
  "organization_administrator",
  "system_health_monitor",
  "subscription_service_manager",
]);
const Partner = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  Role: Type.Union([Type.String(), Type.Null()]),
  CreatedAt: Instant,
});
const Access = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  AccessLevel: Type.String(),
  CreatedAt: Instant,
});

const base = { surface: "identity", access: "bearer", tag: "Channel partners" } as const;
const errors = [...TOKEN_ERRORS, "organization.not-found"] as const;
const params = Type.Object({ uuid: Uuid, partner: Uuid });

export const listPartners = operation({
  ...base,
  id: "identity.channel_partners.list",
  method: "GET",
  path: "/cdb/channel_partners",
  scope: "organization:read",
  summary: "Channel partners that the caller is somebody of",
  query: Type.Object(Paging),
  responses: { 200: { description: "Partners", schema: Type.Array(Partner) } },
  errors: TOKEN_ERRORS,
});

export const listAccess = operation({
  ...base,
  id: "identity.organizations.channel_partners.list",
  method: "GET",
  path: "/cdb/organizations/:uuid/channel_partners",
  scope: "organization:read",
  summary: "Partners that may act for an organization",
  params: Type.Object({ uuid: Uuid }),
  query: Type.Object(Paging),
  responses: { 200: { description: "Partners and their levels", schema: Type.Array(Access) } },
  errors,
});

export const grantAccess = operation({
  ...base,
  id: "identity.organizations.channel_partners.grant",
  method: "PUT",
  path: "/cdb/organizations/:uuid/channel_partners/:partner",
  scope: "organization:write",
  summary: "Let a partner act for an organization",
  description:
    "`organization_administrator`: all. `system_health_monitor`: how sites, servers and devices are, and nothing of what runs on them. `subscription_service_manager`: subscriptions. Only the organization's own administrators decide it, no partner.",
  params,
  body: Type.Object({ AccessLevel }, { additionalProperties: false }),
  responses: { 200: { description: "As it is now", schema: Access } },
  errors: [...errors, "partner.not-found"],
  example: { body: { AccessLevel: "system_health_monitor" } },
});

export const revokeAccess = operation({
  ...base,
  id: "identity.organizations.channel_partners.revoke",
  method: "DELETE",
  path: "/cdb/organizations/:uuid/channel_partners/:partner",
  scope: "organization:write",
  summary: "Let a partner act no more",
  params,
  responses: { 204: { description: "Done" } },
  errors: [...errors, "partner.not-found"],
});
