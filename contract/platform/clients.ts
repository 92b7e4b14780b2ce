// SPDX-License-Identifier: Apache-2.0
/** OAuth clients that bring people to us, registered by the operator. */
import { Type } from "typebox";
import { Name } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";

const base = { surface: "platform", access: "admin", tag: "Operator" } as const;
const refused = ["identity.unauthorized", "identity.forbidden"] as const;

export const createClient = operation({
  ...base,
  id: "platform.clients.create",
  method: "POST",
  path: "/platform/v1/oauth-clients",
  summary: "Register a program that people sign in to",
  description:
    "Addresses to go back to are compared to the letter. A public client has no secret; let it require PKCE when it can. An app's addresses need `native`.",
  body: Type.Object(
    {
      name: Name,
      redirect_uris: Type.Array(Type.String({ maxLength: 2048 }), { maxItems: 20 }),
      confidential: Type.Optional(Type.Boolean({ default: true })),
      require_pkce: Type.Optional(Type.Boolean({ default: false })),
      native: Type.Optional(Type.Boolean({ default: false })),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: {
      description: "The client; the secret is shown this once",
      schema: Type.Object({
        client_id: Type.String(),
        client_secret: Type.Union([Type.String(), Type.Null()]),
      }),
    },
  },
  errors: [...refused, "request.invalid"],
  example: { body: { name: "console", redirect_uris: ["https://console.example.com/callback"] } },
});

export const revokeClient = operation({
  ...base,
  id: "platform.clients.revoke",
  method: "DELETE",
  path: "/platform/v1/oauth-clients/:client_id",
  summary: "Put a client out, for good",
  description: "A tenant's client too. Its own tokens, and the sign-ins that people have at it, end with it.",
  params: Type.Object({ client_id: Type.String({ pattern: "^oc_[0-9a-f]{32}$" }) }),
  responses: { 204: { description: "Done" } },
  errors: [...refused, "client.not-found"],
});

export const createUser = operation({
  ...base,
  id: "platform.users.create",
  method: "POST",
  path: "/platform/v1/users",
  summary: "Make a user",
  body: Type.Object(
    {
      email: Type.String({ maxLength: 254 }),
      name: Name,
      password: Type.String({ minLength: 10, maxLength: 256 }),
    },
    { additionalProperties: false },
  ),
  responses: { 201: { description: "The user", schema: Type.Object({ user_id: Type.String() }) } },
  errors: [...refused, "request.invalid", "identity.email-taken"],
  example: { body: { email: "ada@example.com", name: "Ada", password: "correct horse battery" } },
});

export const deleteUser = operation({
  ...base,
  id: "platform.users.delete",
  method: "DELETE",
  path: "/platform/v1/users/:user_id",
  summary: "Delete a user",
  description:
    "Sign-ins and memberships end at once; what the person owned stays, and nobody can act for them any more.",
  params: Type.Object({ user_id: Type.String({ pattern: "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" }) }),
  responses: { 204: { description: "Done" } },
  errors: [...refused, "account.not-found"],
});
