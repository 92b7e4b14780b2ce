// SPDX-License-Identifier: Apache-2.0
/** Organizations: who people and partners act for. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, Name, Paging, TOKEN_ERRORS, Uuid } from "./vocabulary.ts";

export const Organization = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  ChannelPartner: Type.Union([Type.Object({ UUID: Uuid, Name: Type.String() }), Type.Null()]),
  Role: Type.Union([Type.String(), Type.Null()], { description: "Of the caller; null: none of their own" }),
  Permissions: Type.Array(Type.String(), { description: "What the caller may do acting for it" }),
  CreatedAt: Instant,
  UpdatedAt: Instant,
});

const base = { surface: "identity", access: "bearer", tag: "Organizations" } as const;

export const listOrganizations = operation({
  ...base,
  id: "identity.organizations.list",
  method: "GET",
  path: "/cdb/organizations",
  scope: "organization:read",
  summary: "Organizations that the caller may act for",
  query: Type.Object({ ...Paging, q: Type.Optional(Type.String({ maxLength: 200 })) }),
  responses: { 200: { description: "Organizations", schema: Type.Array(Organization) } },
  errors: TOKEN_ERRORS,
});

export const createOrganization = operation({
  ...base,
  id: "identity.organizations.create",
  method: "POST",
  path: "/cdb/organizations",
  scope: "organization:write",
  summary: "Found an organization",
  description:
    "A person becomes its administrator. Acting for a channel partner, it is founded under that partner, and the person is its administrator all the same.",
  body: Type.Object({ Name }, { additionalProperties: false }),
  responses: { 201: { description: "The organization", schema: Organization } },
  errors: TOKEN_ERRORS,
  idempotent: true,
  example: { body: { Name: "Acme" } },
});

const one = { ...base, params: Type.Object({ uuid: Uuid }) } as const;

export const getOrganization = operation({
  ...one,
  id: "identity.organizations.get",
  method: "GET",
  path: "/cdb/organizations/:uuid",
  scope: "organization:read",
  summary: "An organization",
  responses: {
    200: { description: "The organization", schema: Organization },
    304: { description: "As it was" },
  },
  errors: [...TOKEN_ERRORS, "organization.not-found"],
});

export const updateOrganization = operation({
  ...one,
  id: "identity.organizations.update",
  method: "PATCH",
  path: "/cdb/organizations/:uuid",
  scope: "organization:write",
  summary: "Rename an organization",
  description: "With `If-Match` only the version that it names.",
  body: Type.Object({ Name }, { additionalProperties: false }),
  responses: { 200: { description: "The organization", schema: Organization } },
  errors: [...TOKEN_ERRORS, "organization.not-found", "request.precondition"],
  example: { body: { Name: "Acme Ltd" } },
});
