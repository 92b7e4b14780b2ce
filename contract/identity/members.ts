// SPDX-License-Identifier: Apache-2.0
/** Members of organizations and of channel partners, and those who are invited. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, Paging, TOKEN_ERRORS, Uuid } from "./vocabulary.ts";

const OrganizationRole = Type.Enum(["administrator", "operator", "viewer"]);
const PartnerRole = Type.Enum(["administrator", "account_manager", "accountant"]);
const Email = Type.String({ maxLength: 254 });

const Member = Type.Object({
  UUID: Uuid,
  Email: Type.String(),
  Name: Type.String(),
  Role: Type.String(),
  CreatedAt: Instant,
});
const Invitation = Type.Object({
  UUID: Uuid,
  Email: Type.String(),
  Role: Type.String(),
  CreatedAt: Instant,
  ExpiresAt: Instant,
});

const base = { surface: "identity", access: "bearer", tag: "Members" } as const;
const params = Type.Object({ uuid: Uuid });
const memberParams = Type.Object({ uuid: Uuid, user: Uuid });
const errors = [...TOKEN_ERRORS, "organization.not-found"] as const;

/** The same operations twice: what differs is whose members they are, and what roles there are. */
const of = <const K extends string, R extends typeof OrganizationRole | typeof PartnerRole>(
  kind: K,
  root: string,
  Role: R,
) => ({
  list: operation({
    ...base,
    id: `identity.${kind}.members.list`,
    method: "GET",
    path: `${root}/:uuid/members`,
    scope: "organization:read",
    summary: "Members",
    params,
    query: Type.Object(Paging),
    responses: { 200: { description: "Members", schema: Type.Array(Member) } },
    errors,
  }),
  invite: operation({
    ...base,
    id: `identity.${kind}.members.invite`,
    method: "POST",
    path: `${root}/:uuid/members`,
    scope: "organization:write",
    summary: "Invite somebody",
    description:
      "No mail is sent: hand the word over. Whoever shows it, at sign-up or at `/cdb/invitations/accept`, becomes a member, once, within seven days. It is shown this once.",
    params,
    body: Type.Object({ Email, Role }, { additionalProperties: false }),
    responses: {
      201: {
        description: "The invitation",
        schema: Type.Object({ ...Invitation.properties, Invitation: Type.String() }),
      },
    },
    errors,
    example: { body: { Email: "bob@example.com", Role: kind === "organizations" ? "viewer" : "accountant" } },
  }),
  change: operation({
    ...base,
    id: `identity.${kind}.members.change`,
    method: "PATCH",
    path: `${root}/:uuid/members/:user`,
    scope: "organization:write",
    summary: "Give a member another role",
    params: memberParams,
    body: Type.Object({ Role }, { additionalProperties: false }),
    responses: { 200: { description: "The member", schema: Member } },
    errors: [...errors, "member.not-found", "member.last-administrator"],
    example: { body: { Role: "administrator" } },
  }),
  remove: operation({
    ...base,
    id: `identity.${kind}.members.remove`,
    method: "DELETE",
    path: `${root}/:uuid/members/:user`,
    scope: "organization:read",
    summary: "Take a member out, or leave",
    description: "With the next call the person may no longer act for it, whatever tokens they hold.",
    params: memberParams,
    responses: { 204: { description: "Done" } },
    errors: [...errors, "member.not-found", "member.last-administrator"],
  }),
  invitations: operation({
    ...base,
    id: `identity.${kind}.invitations.list`,
    method: "GET",
    path: `${root}/:uuid/invitations`,
    scope: "organization:write",
    summary: "Invitations that are open",
    params,
    query: Type.Object(Paging),
    responses: { 200: { description: "Invitations", schema: Type.Array(Invitation) } },
    errors,
  }),
  withdraw: operation({
    ...base,
    id: `identity.${kind}.invitations.withdraw`,
    method: "DELETE",
    path: `${root}/:uuid/invitations/:invitation`,
    scope: "organization:write",
    summary: "Withdraw an invitation",
    params: Type.Object({ uuid: Uuid, invitation: Uuid }),
    responses: { 204: { description: "Done" } },
    errors: [...errors, "member.not-found"],
  }),
});

export const organizationMembers = of("organizations", "/cdb/organizations", OrganizationRole);
export const partnerMembers = of("channel_partners", "/cdb/channel_partners", PartnerRole);

export const acceptInvitation = operation({
  ...base,
  id: "identity.invitations.accept",
  method: "POST",
  path: "/cdb/invitations/accept",
  summary: "Become a member by an invitation",
  body: Type.Object(
    { Invitation: Type.String({ minLength: 16, maxLength: 128 }) },
    { additionalProperties: false },
  ),
  responses: { 200: { description: "Of what", schema: Type.Object({ UUID: Uuid }) } },
  errors: [...TOKEN_ERRORS, "identity.invitation"],
  example: { body: { Invitation: "cm_inv_0123456789abcdefghijklmnopqrstuv" } },
});
