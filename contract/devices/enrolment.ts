// SPDX-License-Identifier: Apache-2.0
/** How a server comes into a site: with a word that was made for it, or asking, and a person says yes. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { Instant, Name, nullable, OfItem, Reply, Server, Uuid, Word } from "./vocabulary.ts";

const writes = { surface: "devices", access: "bearer", scope: "devices:write", tag: "Enrolment" } as const;
const anyone = { surface: "devices", access: "public", tag: "Enrolment" } as const;
const DAY_S = 86_400;

const Token = Type.Object({
  ID: Uuid,
  SystemId: Uuid,
  Prefix: Type.String(),
  MaxUses: Type.Integer(),
  Used: Type.Integer(),
  ExpiresAt: Instant,
  CreatedAt: Instant,
});

export const createToken = operation({
  ...writes,
  id: "devices.tokens.create",
  method: "POST",
  path: "/dev/registration-tokens",
  summary: "Make a word that lets servers into a site",
  description: "`Token` is shown once. A server uses it at `/dev/plugin/register`.",
  body: Type.Object(
    {
      SystemId: Uuid,
      MaxUses: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000, description: "1 unless given" })),
      LifetimeSeconds: Type.Optional(
        Type.Integer({ minimum: 60, maximum: 365 * DAY_S, description: "A day unless given" }),
      ),
      ExpiresAt: Type.Optional(
        Type.String({
          description: "In its place; RFC 3339",
          pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,9})?(Z|[+-]\\d{2}:\\d{2})$",
        }),
      ),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: { description: "The word", schema: Type.Object({ ...Token.properties, Token: Type.String() }) },
  },
  errors: [...TOKEN_ERRORS, "site.not-found"],
});

export const listTokens = operation({
  ...writes,
  id: "devices.tokens.list",
  method: "GET",
  path: "/dev/registration-tokens",
  summary: "Words that still let servers in",
  query: Type.Object({ ...Paging, SystemId: Type.Optional(Uuid) }),
  responses: { 200: { description: "Without the words themselves", schema: Type.Array(Token) } },
  errors: TOKEN_ERRORS,
});

export const deleteToken = operation({
  ...writes,
  id: "devices.tokens.delete",
  method: "DELETE",
  path: "/dev/registration-token/:id",
  summary: "Let nobody in with a word any more",
  params: OfItem,
  responses: { 200: { description: "It lets nobody in", schema: Reply } },
  errors: [...TOKEN_ERRORS, "registration.not-found"],
});

const Enrolled = Type.Object({
  ServerId: Uuid,
  SystemId: Uuid,
  Key: Type.String({ description: "The server's own, shown once" }),
});
const Waiting = Type.Object({
  ServerId: Uuid,
  Code: Type.String({ description: "A person types it at the site" }),
  PollURL: Type.String(),
  ExpiresAt: Instant,
});

export const register = operation({
  ...anyone,
  id: "devices.register",
  method: "POST",
  path: "/dev/plugin/register",
  perAddressRpm: 120,
  summary: "A server asks to be let into a site",
  description:
    "With a registration token, which says which site it is for, it is in at once. Without, `SystemId` says so, and a person of the site's organization has to say yes to `Code`; that the site exists is not said.",
  bodyLimit: 16 * 1024,
  body: Type.Object(
    {
      ServerId: Uuid,
      SystemId: Type.Optional(Uuid),
      Source: Type.Optional(
        nullable(
          Type.Record(Word, Type.Union([Word, Type.Number(), Type.Boolean(), Type.Null()]), {
            maxProperties: 50,
          }),
        ),
      ),
      Name: Type.Optional(Name),
      RegistrationToken: Type.Optional(Type.String({ maxLength: 128 })),
    },
    { additionalProperties: false },
  ),
  responses: {
    201: { description: "Let in", schema: Enrolled },
    202: { description: "Somebody has to say yes", schema: Waiting },
  },
  errors: ["limits.rate", "request.invalid", "registration.refused", "server.exists"],
  example: {
    body: {
      ServerId: "5c2cbb0b-3f4b-4ef1-9d2e-5a4bd4f9f0b1",
      SystemId: "0d6ac8b1-63ed-4c88-9f9e-0ef1f2b0a6f7",
      Source: null,
    },
  },
});

export const pollClaim = operation({
  ...anyone,
  id: "devices.claims.poll",
  method: "GET",
  path: "/dev/plugin/claim/:secret",
  perAddressRpm: 600,
  summary: "What became of asking",
  params: Type.Object({ secret: Type.String({ pattern: "^[A-Za-z0-9_-]{16,128}$" }) }),
  responses: {
    200: { description: "Let in; the key is given once", schema: Enrolled },
    202: { description: "Nobody has said anything yet", schema: Type.Object({ Message: Type.String() }) },
  },
  errors: ["limits.rate", "registration.not-found", "server.exists"],
});

export const listClaims = operation({
  ...writes,
  id: "devices.claims.list",
  method: "GET",
  path: "/dev/system/:id/claims",
  summary: "Servers that ask to be let in",
  params: OfItem,
  query: Type.Object(Paging),
  responses: {
    200: {
      description: "Without their codes: whoever stands before the server reads that there",
      schema: Type.Array(
        Type.Object({
          ServerId: Uuid,
          Source: nullable(Type.Record(Type.String(), Type.Unknown())),
          ExpiresAt: Instant,
        }),
      ),
    },
  },
  errors: [...TOKEN_ERRORS, "site.not-found"],
});

export const approveClaim = operation({
  ...writes,
  id: "devices.claims.approve",
  method: "POST",
  path: "/dev/system/:id/claims",
  summary: "Let in the server that shows this code",
  params: OfItem,
  body: Type.Object(
    { Code: Type.String({ maxLength: 20 }), Name: Type.Optional(Name) },
    { additionalProperties: false },
  ),
  responses: { 200: { description: "The server", schema: Server } },
  errors: [...TOKEN_ERRORS, "site.not-found", "registration.not-found", "server.exists"],
  example: { body: { Code: "BCDF-GHJK" } },
});
