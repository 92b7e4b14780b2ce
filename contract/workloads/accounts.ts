// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Count, Instant, Isolations, Money } from "./vocabulary.ts";

const Rules = {
  isolation: Type.Union([Isolations, Type.Null()], {
    description: "The least that the account's workloads run in; null: the installation's standard",
  }),
  launchApproval: Type.Enum(["change", "explicit"], {
    description:
      "change: creating and updating a workload approves the launch that it makes. explicit: each other launch than the first is approved by itself",
  }),
};
const Account = Type.Object({
  accountId: Type.String(),
  name: Type.String(),
  createdAt: Instant,
  credits: Money,
  balance: Money,
  creditRate: Money,
  burnRatePerMin: Money,
  walletAddress: Type.Optional(Type.String()),
  ...Rules,
});
const Room = { workloads: Count, cpus: Count, memoryMb: Count, diskGb: Count, gpus: Count };
const Me = Type.Object({
  ...Account.properties,
  usage: Type.Object(Room),
  limits: Type.Object({ ...Room, requestsPerMinute: Type.Union([Count, Type.Null()]) }),
});
const Named = Type.String({ minLength: 1, maxLength: 32 });
const Credits = Type.Number({ exclusiveMinimum: 0, maximum: 1e9 });
const base = { surface: "workloads", tag: "Accounts", errors: ["identity.unauthorized"] } as const;

export const createAccount = operation({
  ...base,
  id: "workloads.accounts.create",
  method: "POST",
  path: "/api/v1/accounts/create",
  access: "admin",
  summary: "Open an account; its key is shown once",
  body: Type.Object({
    name: Named,
    credits: Type.Optional(Type.Number({ minimum: 0, maximum: 1e9 })),
    balance: Type.Optional(Type.Number({ minimum: 0, maximum: 1e9 })),
    walletAddress: Type.Optional(Type.String({ maxLength: 128 })),
  }),
  responses: {
    201: {
      description: "The account",
      schema: Type.Object({ ...Account.properties, apiToken: Type.String() }),
    },
  },
  example: { body: { name: "acme", credits: 1000 } },
});

export const listAccounts = operation({
  ...base,
  id: "workloads.accounts.list",
  method: "GET",
  path: "/api/v1/accounts/list",
  access: "admin",
  summary: "List accounts",
  responses: { 200: { description: "Accounts, oldest first", schema: Type.Array(Account) } },
});

export const getMe = operation({
  ...base,
  id: "workloads.accounts.me",
  method: "GET",
  path: "/api/v1/accounts/me",
  access: "key",
  summary: "The caller's account, its usage and limits",
  responses: { 200: { description: "The account", schema: Me } },
});

export const getAccount = operation({
  ...base,
  id: "workloads.accounts.get",
  method: "GET",
  path: "/api/v1/accounts/:id",
  access: "either",
  summary: "One account: any for the operator, its own for a key",
  params: Type.Object({ id: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "The account", schema: Account } },
  errors: ["identity.unauthorized", "account.not-found"],
});

export const updateAccount = operation({
  ...base,
  id: "workloads.accounts.update",
  scope: "workloads:write",
  method: "PUT",
  path: "/api/v1/accounts/update",
  access: "either",
  summary: "Rename an account, and say what its workloads are to run in",
  body: Type.Object({
    accountId: Type.String({ maxLength: 64 }),
    name: Named,
    isolation: Type.Optional(Rules.isolation),
    launchApproval: Type.Optional(Rules.launchApproval),
    walletAddress: Type.Optional(Type.String({ maxLength: 128 })),
  }),
  responses: { 200: { description: "The account", schema: Account } },
  errors: ["identity.unauthorized", "account.not-found"],
  example: { body: { accountId: "acct_00000000000000000000000000000000", name: "acme" } },
});

export const addCredits = operation({
  ...base,
  id: "workloads.accounts.add-credits",
  method: "POST",
  path: "/api/v1/accounts/add-credits",
  access: "admin",
  summary: "Add credits to an account",
  body: Type.Object({ accountId: Type.String({ maxLength: 64 }), credits: Credits }),
  responses: { 200: { description: "The account", schema: Account } },
  errors: ["identity.unauthorized", "account.not-found"],
  idempotent: true,
  example: { body: { accountId: "acct_00000000000000000000000000000000", credits: 100 } },
});

export const addBalance = operation({
  ...base,
  id: "workloads.accounts.add-balance",
  method: "POST",
  path: "/api/v1/accounts/add-balance",
  access: "admin",
  summary: "Add US dollars to an account",
  body: Type.Object({ accountId: Type.String({ maxLength: 64 }), balance: Credits }),
  responses: { 200: { description: "The account", schema: Account } },
  errors: ["identity.unauthorized", "account.not-found"],
  idempotent: true,
  example: { body: { accountId: "acct_00000000000000000000000000000000", balance: 1 } },
});

const Key = Type.Object({
  apiKeyId: Type.String(),
  accountId: Type.String(),
  name: Type.String(),
  prefix: Type.String({ description: "What may be shown of the key" }),
  scopes: Type.Array(Type.String()),
  createdAt: Instant,
  expiresAt: Type.Union([Instant, Type.Null()]),
});
const Scopes = Type.Array(
  Type.Enum(["workloads:*", "workloads:read", "workloads:write", "workloads:approve"]),
  { minItems: 1, maxItems: 8 },
);
const keys = { ...base, tag: "API keys", errors: ["identity.unauthorized", "keys.not-found"] } as const;

export const createKey = operation({
  ...keys,
  id: "workloads.api-keys.create",
  scope: "workloads:write",
  method: "POST",
  path: "/api/v1/api-keys/create",
  access: "either",
  summary: "Make a key of an account; it is shown once",
  body: Type.Object({
    accountId: Type.Optional(Type.String({ maxLength: 64 })),
    name: Named,
    scopes: Type.Optional(Scopes),
    expiresAt: Type.Optional(Type.String({ maxLength: 40 })),
  }),
  responses: {
    201: { description: "The key", schema: Type.Object({ ...Key.properties, apiKey: Type.String() }) },
  },
  example: { body: { name: "ci" } },
});

export const listKeys = operation({
  ...keys,
  id: "workloads.api-keys.list",
  method: "GET",
  path: "/api/v1/api-keys/account/:id",
  access: "either",
  summary: "Keys of an account",
  params: Type.Object({ id: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "Keys, oldest first", schema: Type.Array(Key) } },
});

export const updateKey = operation({
  ...keys,
  id: "workloads.api-keys.update",
  scope: "workloads:write",
  method: "PUT",
  path: "/api/v1/api-keys/update",
  access: "either",
  summary: "Rename a key or change when it ends",
  body: Type.Object({
    apiKeyId: Type.String({ maxLength: 64 }),
    name: Type.Optional(Named),
    expiresAt: Type.Optional(Type.Union([Type.String({ maxLength: 40 }), Type.Null()])),
  }),
  responses: { 200: { description: "The key", schema: Key } },
  example: { body: { apiKeyId: "key_00000000000000000000000000000000", name: "ci" } },
});

export const deleteKey = operation({
  ...keys,
  id: "workloads.api-keys.delete",
  scope: "workloads:write",
  method: "POST",
  path: "/api/v1/api-keys/delete",
  access: "either",
  summary: "Revoke a key at once",
  body: Type.Object({ apiKeyId: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "Gone", schema: Type.Object({}) } },
  example: { body: { apiKeyId: "key_00000000000000000000000000000000" } },
});

export const listPayments = operation({
  ...base,
  id: "workloads.payments.list",
  tag: "Payments",
  method: "GET",
  path: "/api/v1/payments/list",
  access: "key",
  summary: "What was credited to the account, newest first",
  responses: {
    200: {
      description: "Credits",
      schema: Type.Array(
        Type.Object({
          paymentId: Type.String(),
          credits: Money,
          balance: Money,
          reference: Type.Union([Type.String(), Type.Null()]),
          createdAt: Instant,
        }),
      ),
    },
  },
});
