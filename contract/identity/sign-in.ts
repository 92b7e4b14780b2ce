// SPDX-License-Identifier: Apache-2.0
/** Signing in with a browser: where a client sends it, the page it is shown, and the way back. */
import { Type } from "typebox";
import { operation } from "../operation.ts";

const base = { surface: "oauth", access: "public", tag: "Sign-in" } as const;
const page = { 200: { description: "A page", mediaType: "text/html" } };
const onward = { 303: { description: "The way on" } };
/** As the library makes them. */
const Uid = Type.Object({ uid: Type.String({ pattern: "^[\\w-]{1,64}$" }) });
const FORM = "application/x-www-form-urlencoded";

export const authorize = operation({
  ...base,
  id: "oauth.authorize",
  method: "GET",
  path: "/authorize",
  perAddressRpm: 120,
  summary: "Begin to sign in",
  description:
    "Authorization code (RFC 6749 4.1), with PKCE when it is sent and of clients that are registered so. `redirect_url` is read as `redirect_uri`, `email` as `login_hint`; without `response_type` it is `code`.",
  responses: onward,
  errors: ["request.invalid", "limits.rate"],
});

export const resume = operation({
  ...base,
  id: "oauth.resume",
  method: "GET",
  path: "/authorize/:uid",
  perAddressRpm: 120,
  summary: "Go on to the client, after the page",
  params: Uid,
  responses: onward,
  errors: ["limits.rate"],
});

export const showSignIn = operation({
  ...base,
  id: "oauth.sign-in.show",
  method: "GET",
  path: "/sign-in/:uid",
  perAddressRpm: 120,
  summary: "The sign-in page",
  params: Uid,
  responses: page,
  errors: ["limits.rate"],
});

export const signIn = operation({
  ...base,
  id: "oauth.sign-in",
  method: "POST",
  path: "/sign-in/:uid",
  perAddressRpm: 120,
  summary: "What the page sends",
  params: Uid,
  bodyKind: "raw",
  bodyMediaType: FORM,
  bodyLimit: 8 * 1024,
  responses: onward,
  errors: ["limits.rate"],
});

export const returnFromOutside = operation({
  ...base,
  id: "oauth.sign-in.outside",
  method: "GET",
  path: "/sign-in-outside",
  perAddressRpm: 60,
  summary: "The way back from the provider outside, where one is configured",
  responses: onward,
  errors: ["limits.rate"],
});
