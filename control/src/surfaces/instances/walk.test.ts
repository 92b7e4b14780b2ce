// SPDX-License-Identifier: Apache-2.0
/** Walks every operation of the contract: nothing answers a stranger, nothing falls over bad input. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { INSTANCES } from "#contract/instances/index.ts";
import type { Operation } from "#contract/operation.ts";
import { addKey } from "#control/src/core/identity/index.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";

let casemate: Installation;
const keys: Record<string, string> = {};
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false, config: { instances: { requestsPerMinute: null } } });
  const admin = callerOf(casemate.url, casemate.adminKey);
  const made = (await admin("POST", "/platform/v1/tenants", { name: "walker" })).body;
  keys.own = made.api_key;
  keys.workloads = made.api_keys.workloads;
  keys.sessions = (await casemate.account()).key!;
  keys.operator = casemate.adminKey;
  const narrow = async (scope: string) =>
    (await addKey(casemate.control.db.run, {
      ...{ account: made.account_id, surface: "instances", name: scope, scopes: [scope], expiresAt: null },
    }))!.key;
  keys.read = await narrow("instances:read");
  keys.nothing = await narrow("instances:nothing");
});
afterAll(() => casemate[Symbol.asyncDispose]());

const pathOf = (operation: Operation) => operation.path.replace(":name", "aaaaaaaa");
const bodyOf = (operation: Operation) =>
  operation.bodyKind === "json" ? operation.example?.body : undefined;
const isError = (body: unknown, code: string) =>
  expect(body).toMatchObject({
    request_id: expect.stringMatching(/^[0-9a-f]{32}$/),
    correlation_id: null,
    error: { code, message: expect.any(String) },
  });

describe.each(INSTANCES.map((operation) => [operation.id, operation] as const))("%s", (_id, operation) => {
  const ask = (key: string | null, body: unknown = bodyOf(operation)) =>
    callerOf(casemate.url, key)(operation.method, pathOf(operation), body);

  it.each([
    ["no key", () => null],
    ["a wrong key", () => "ca_aaaaaaaa_aaaaaaaaaaaaaaaaaa"],
    ["a malformed key", () => "x y"],
    ["half a key", () => keys.own!.slice(0, 20)],
  ])("is not for who has %s", async (_who, key) => {
    const { status, body } = await ask(key());
    expect(status).toBe(401);
    isError(body, "unauthenticated");
  });

  it.each(["workloads", "sessions", "operator", "nothing"])("is not for a key of %s", async (which) => {
    const { status, body } = await ask(keys[which]!);
    expect(status).toBe(403);
    isError(body, "forbidden");
  });

  it("is for a key that may only read when nothing is changed by it", async () => {
    const { status } = await ask(keys.read!);
    const forbidden = operation.scope === "instances:write";
    expect(status === 403).toBe(forbidden);
  });

  if (operation.bodyKind === "json")
    it.each([
      ["text", "{"],
      ["a list", "[]"],
      ["null", "null"],
      ["nothing", ""],
      ["what is too deep", `${'{"a":'.repeat(100)}1${"}".repeat(100)}`],
      ["bytes that are no text", "\uD800"],
    ])("refuses a body that is %s", async (_what, body) => {
      const reply = await fetch(`${casemate.url}${pathOf(operation)}`, {
        ...{ method: operation.method, body },
        headers: { authorization: `Bearer ${keys.own}`, "content-type": "application/json" },
      });
      expect(reply.status).toBe(400);
      isError(await reply.json(), "invalid_request");
    });
});

it.each(["limit=0", "limit=1001", "limit=x", "cursor=x", "status=other", `cursor=${"x".repeat(300)}`])(
  "a list that is asked with %s is refused",
  async (query) => {
    const { status, body } = await callerOf(casemate.url, keys.own!)("GET", `/v1/instances?${query}`);
    expect(status).toBe(400);
    isError(body, "invalid_request");
  },
);

it("without a host that could have it an instance is refused, and nothing is recorded", async () => {
  const own = callerOf(casemate.url, keys.own!);
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
  const { status, body } = await own("POST", "/v1/instances", { public_key: key, agent: "none" });
  expect(status).toBe(503);
  isError(body, "unavailable");
  expect((await own("GET", "/v1/instances")).body.data.instances).toEqual([]);
});
