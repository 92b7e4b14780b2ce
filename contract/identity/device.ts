// SPDX-License-Identifier: Apache-2.0
/** Signing in on a device without a browser (RFC 8628), and taking tokens back (RFC 7009) or asking about them (RFC 7662). */
import { Type } from "typebox";
import { operation } from "../operation.ts";

const FORM = "application/x-www-form-urlencoded";
const base = { surface: "oauth", access: "public", tag: "OAuth", method: "POST" } as const;
const form = { bodyKind: "raw", bodyMediaType: FORM, bodyLimit: 32 * 1024, errors: ["limits.rate"] } as const;
const page = { 200: { description: "A page", mediaType: "text/html" } };

export const deviceAuthorization = operation({
  ...{ ...base, ...form },
  id: "oauth.device",
  path: "/cdb/oauth2/device",
  perAddressRpm: 60,
  summary: "Begin to sign in on a device",
  responses: {
    200: {
      description: "The code to show, and the one to ask with",
      schema: Type.Object({
        device_code: Type.String(),
        user_code: Type.String(),
        verification_uri: Type.String(),
        verification_uri_complete: Type.String(),
        expires_in: Type.Integer(),
      }),
    },
  },
  example: { body: { client_id: "oc_…" } },
});

export const revoke = operation({
  ...{ ...base, ...form },
  id: "oauth.revoke",
  path: "/cdb/oauth2/revoke",
  perAddressRpm: 300,
  summary: "Take a token back",
  description:
    "A refresh token ends its sign-in, an access token only itself. Only of the client that shows it.",
  responses: { 200: { description: "It counts no more, if it ever did" } },
  example: { body: { token: "…", client_id: "oc_…" } },
});

export const introspect = operation({
  ...{ ...base, ...form },
  id: "oauth.introspect",
  path: "/cdb/oauth2/introspect",
  perAddressRpm: 600,
  summary: "Ask about a token",
  description: "Whether it counts now. A client is answered about its own tokens.",
  responses: {
    200: {
      description: "What it says, or that it is not active",
      schema: Type.Object({ active: Type.Boolean() }),
    },
  },
  example: { body: { token: "…", client_id: "oc_…" } },
});

export const showDevice = operation({
  ...base,
  tag: "Sign-in",
  id: "oauth.device.show",
  method: "GET",
  path: "/device",
  perAddressRpm: 60,
  summary: "The page that a device sends people to",
  responses: page,
  errors: ["limits.rate"],
});

export const takeDevice = operation({
  ...{ ...base, ...form },
  tag: "Sign-in",
  id: "oauth.device.take",
  path: "/device",
  perAddressRpm: 30,
  summary: "What the page sends",
  responses: page,
});

export const resumeDevice = operation({
  ...base,
  tag: "Sign-in",
  id: "oauth.device.resume",
  method: "GET",
  path: "/device/:uid",
  perAddressRpm: 60,
  summary: "The last page",
  params: Type.Object({ uid: Type.String({ pattern: "^[\\w-]{1,64}$" }) }),
  responses: page,
  errors: ["limits.rate"],
});
