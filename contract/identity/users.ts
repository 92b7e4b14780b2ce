// SPDX-License-Identifier: Apache-2.0
/** People: coming in, and what they do about themselves. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, Name, TOKEN_ERRORS, Uuid } from "./vocabulary.ts";

export const User = Type.Object({
  UUID: Uuid,
  Email: Type.String(),
  Name: Type.String(),
  CreatedAt: Instant,
});
const Email = Type.String({ maxLength: 254 });
export const Password = Type.String({ minLength: 10, maxLength: 256 });

const base = { surface: "identity", tag: "Users" } as const;

export const signUp = operation({
  ...base,
  id: "identity.users.create",
  access: "public",
  perAddressRpm: 10,
  method: "POST",
  path: "/cdb/users",
  summary: "Become a user",
  description:
    "With the word of an invitation one becomes a member as well. Without one it is refused unless `identity.signUp` is `open`.",
  body: Type.Object(
    { Email, Password, Name, Invitation: Type.Optional(Type.String({ maxLength: 128 })) },
    { additionalProperties: false },
  ),
  responses: { 201: { description: "The user", schema: User } },
  errors: [
    "request.invalid",
    "identity.email-taken",
    "identity.sign-up-closed",
    "identity.invitation",
    "limits.rate",
  ],
  example: { body: { Email: "ada@example.com", Password: "correct horse battery", Name: "Ada" } },
});

export const getMe = operation({
  ...base,
  id: "identity.users.me",
  access: "bearer",
  method: "GET",
  path: "/cdb/users/me",
  summary: "Who the caller is, and for whom they act",
  responses: {
    200: {
      description: "The caller",
      schema: Type.Object({
        Kind: Type.Enum(["user", "client"]),
        ID: Type.String(),
        Name: Type.String(),
        ActingFor: Type.Object({ Kind: Type.String(), UUID: Uuid, Name: Type.String() }),
        Permissions: Type.Array(Type.String()),
      }),
    },
  },
  errors: TOKEN_ERRORS,
});

export const changePassword = operation({
  ...base,
  id: "identity.users.password",
  access: "bearer",
  method: "POST",
  path: "/cdb/users/me/password",
  summary: "Change one's password",
  description: "Every sign-in ends with it, this one too.",
  body: Type.Object({ Current: Type.String({ maxLength: 256 }), Password }, { additionalProperties: false }),
  responses: { 204: { description: "Changed" } },
  errors: [...TOKEN_ERRORS, "identity.wrong-password", "identity.guesses"],
  example: { body: { Current: "correct horse battery", Password: "another horse battery" } },
});

export const signOut = operation({
  ...base,
  id: "identity.users.sign-out",
  access: "bearer",
  method: "POST",
  path: "/cdb/users/me/sign-out",
  summary: "Sign out everywhere",
  description: "All sign-ins of the caller end, in every browser and program, with the next call.",
  responses: { 204: { description: "Done" } },
  errors: TOKEN_ERRORS,
});
