// SPDX-License-Identifier: Apache-2.0
/** The authorization server's endpoints: OAuth 2.0 and OpenID Connect, in their own words and errors. */
import { Type } from "typebox";
import { operation } from "../operation.ts";

/** A form is what the standards have; JSON is read too. */
const FORM = "application/x-www-form-urlencoded";
const base = { surface: "oauth", access: "public", tag: "OAuth" } as const;
const asIs = { 200: { description: "As the standard has it", schema: Type.Object({}) } };
const BODY_LIMIT = 32 * 1024;

export const token = operation({
  ...base,
  id: "oauth.token",
  method: "POST",
  path: "/cdb/oauth2/token",
  perAddressRpm: 300,
  summary: "Get an access token",
  description:
    "`grant_type` is `client_credentials` for programs that act by themselves. `expires_in` is a string of seconds, `expires_at` milliseconds since 1970.",
  bodyKind: "raw",
  bodyMediaType: FORM,
  bodyLimit: BODY_LIMIT,
  responses: {
    200: {
      description: "The token",
      schema: Type.Object({
        access_token: Type.String(),
        token_type: Type.String(),
        expires_in: Type.String(),
        expires_at: Type.Integer(),
        refresh_token: Type.Optional(Type.String()),
        id_token: Type.Optional(Type.String()),
        scope: Type.Optional(Type.String()),
      }),
    },
  },
  errors: ["limits.rate"],
  example: { body: { grant_type: "client_credentials", client_id: "oc_…", client_secret: "cm_cs_…" } },
});

const read = {
  ...base,
  method: "GET",
  perAddressRpm: 600,
  responses: asIs,
  errors: ["limits.rate"],
} as const;

export const jwks = operation({
  ...read,
  id: "oauth.jwks",
  path: "/cdb/oauth2/jwks",
  summary: "The keys that sign tokens",
});

export const discovery = operation({
  ...read,
  id: "oauth.discovery",
  path: "/.well-known/openid-configuration",
  summary: "What this authorization server can do, and where",
});

export const serverMetadata = operation({
  ...read,
  id: "oauth.metadata",
  path: "/.well-known/oauth-authorization-server",
  summary: "The same under the name that OAuth alone gives it",
});
