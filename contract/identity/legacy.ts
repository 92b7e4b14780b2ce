// SPDX-License-Identifier: Apache-2.0
/**
 * Signing in as the original's older programs do: a password to an address, no browser. There only when
 * `models.legacyAuth` is on, which it can be only while the API listens on loopback.
 */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { TOKEN_ERRORS, Uuid } from "./vocabulary.ts";

const base = { surface: "identity", tag: "Legacy sign-in" } as const;
const Tokens = Type.Object({ AccessToken: Type.String(), RefreshToken: Type.String() });
const refused = ["identity.token", "identity.guesses", "limits.rate"] as const;

export const legacySignIn = operation({
  ...base,
  id: "identity.legacy.sign-in",
  access: "public",
  perAddressRpm: 60,
  method: "POST",
  path: "/auth/authenticate/signin",
  summary: "Sign in with a password",
  description: "Only with `models.legacyAuth`. Same people and same bounds on guessing as the sign-in page.",
  body: Type.Object({
    Username: Type.String({ maxLength: 254 }),
    Password: Type.String({ maxLength: 256 }),
    KeepLoggedIn: Type.Optional(Type.Boolean()),
  }),
  responses: { 200: { description: "Tokens", schema: Tokens } },
  errors: [...refused, "identity.wrong-login"],
  example: { body: { Username: "ada@example.com", Password: "correct horse battery", KeepLoggedIn: true } },
});

export const legacyRefresh = operation({
  ...base,
  id: "identity.legacy.refresh",
  access: "public",
  perAddressRpm: 60,
  method: "POST",
  path: "/auth/authenticate/refresh-token",
  summary: "New tokens for a refresh token",
  description: "The refresh token comes as `RefreshToken` or as the bearer. It is good once.",
  body: Type.Object({
    GrantType: Type.Optional(Type.String({ maxLength: 64 })),
    RefreshToken: Type.Optional(Type.String({ maxLength: 4096 })),
  }),
  responses: { 200: { description: "Tokens", schema: Tokens } },
  errors: refused,
  example: { body: { GrantType: "refresh_token", RefreshToken: "…" } },
});

export const legacySignOut = operation({
  ...base,
  id: "identity.legacy.sign-out",
  access: "bearer",
  method: "POST",
  path: "/auth/authenticate/signout",
  summary: "End this sign-in",
  responses: { 200: { description: "Done", schema: Type.Object({ Message: Type.String() }) } },
  errors: TOKEN_ERRORS,
});

export const legacyUser = operation({
  ...base,
  id: "identity.legacy.user",
  access: "bearer",
  method: "GET",
  path: "/auth/user/:uuid",
  summary: "Oneself",
  params: Type.Object({ uuid: Uuid }),
  responses: {
    200: {
      description: "The user",
      schema: Type.Object({ UUID: Uuid, Email: Type.String(), Name: Type.String(), OrganisationUUID: Uuid }),
    },
  },
  errors: [...TOKEN_ERRORS, "account.not-found"],
});
