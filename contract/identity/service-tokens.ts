// SPDX-License-Identifier: Apache-2.0
/** Service tokens: bearer secrets for programs that cannot ask for access tokens. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, Name, Paging, SCOPES, TOKEN_ERRORS, Uuid } from "./vocabulary.ts";

/** A program that holds one cannot change who belongs to the organization. */
const Scope = Type.Enum(SCOPES.filter((scope) => scope !== "organization:write"));
const Token = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  Prefix: Type.String({ description: "Its first characters" }),
  Permissions: Type.Array(Type.String()),
  CreatedAt: Instant,
  ExpiresAt: Instant,
});
const base = { surface: "identity", access: "bearer", tag: "Service tokens" } as const;

export const createToken = operation({
  ...base,
  id: "identity.tokens.create",
  method: "POST",
  path: "/cdb/tokens",
  summary: "Make a service token for whom the caller acts for",
  description:
    "It has at most what is named here, at most what its maker may do, and ends when its maker may act no more. It makes no other tokens. Shown this once.",
  body: Type.Object(
    {
      Name,
      Permissions: Type.Array(Scope, { minItems: 1, maxItems: 8, uniqueItems: true }),
      LifetimeSeconds: Type.Optional(
        Type.Integer({
          minimum: 60,
          maximum: 31_536_000,
          default: 7_776_000,
          description: "90 days unless given",
        }),
      ),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: { description: "The token", schema: Type.Object({ ...Token.properties, Token: Type.String() }) },
  },
  errors: TOKEN_ERRORS,
  example: { body: { Name: "nightly", Permissions: ["devices:health"] } },
});

export const listTokens = operation({
  ...base,
  id: "identity.tokens.list",
  method: "GET",
  path: "/cdb/tokens",
  scope: "organization:read",
  summary: "Service tokens of whom the caller acts for",
  query: Type.Object(Paging),
  responses: { 200: { description: "Tokens", schema: Type.Array(Token) } },
  errors: TOKEN_ERRORS,
});

export const revokeToken = operation({
  ...base,
  id: "identity.tokens.revoke",
  method: "DELETE",
  path: "/cdb/tokens/:uuid",
  summary: "End a service token",
  description: "One's own, or any of whom one acts for as administrator.",
  params: Type.Object({ uuid: Uuid }),
  responses: { 204: { description: "Done" } },
  errors: [...TOKEN_ERRORS, "token.not-found"],
});
