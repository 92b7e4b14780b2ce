// SPDX-License-Identifier: Apache-2.0
/** Walks every operation of the contract: nothing answers a stranger, nothing falls over bad input. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Operation } from "#contract/operation.ts";
import { WORKLOADS } from "#contract/workloads/index.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";

let casemate: Installation;
let owner: Caller;
let admin: Caller;
let otherSurface: string;
let host: Caller;
const driver = new FakeKeptDriver();
beforeAll(async () => {
  casemate = await startInstallation({ kept: driver });
  admin = callerOf(casemate.url, casemate.adminKey);
  const made = await admin("POST", "/api/v1/accounts/create", { name: "walker", credits: 1e6 });
  owner = callerOf(casemate.url, made.body.apiToken);
  const token = randomBytes(24).toString("hex");
  const registered = await admin("POST", "/api/v1/metal-instances/register", {
    ...(WORKLOADS.find(({ id }) => id === "workloads.metal-instances.register")!.example!.body as object),
    token,
  });
  expect(registered.status).toBe(200);
  host = callerOf(casemate.url, token);
  otherSurface = (await casemate.account()).key!;
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const UUID = "00000000-0000-4000-8000-000000000000";
const pathOf = (operation: Operation) => operation.path.replace(":id", UUID);
const bodyOf = (operation: Operation) =>
  operation.bodyKind === "json" ? operation.example?.body : undefined;
const isError = (body: unknown) =>
  expect(body).toMatchObject({
    ts: expect.stringMatching(/^\d{4}-\d{2}-\d{2}T/),
    error: expect.any(String),
    kind: expect.stringMatching(/^[A-Z_]+$/),
    requestId: expect.stringMatching(/^req_/),
  });
const named = (operations: readonly Operation[]) =>
  operations.map((operation) => [operation.id, operation] as const);
const guarded = WORKLOADS.filter(({ access }) => access !== "public");

describe.each(named(guarded))("%s", (_id, operation) => {
  it.each([
    ["no key", () => null],
    ["a wrong key", () => `cm_wl_${"A".repeat(32)}`],
    ["a malformed key", () => "x y"],
    ["another surface's key", () => otherSurface],
    [
      "a key of the wrong kind",
      () =>
        ({ admin: owner.key, key: casemate.adminKey, host: casemate.adminKey, hostOrAdmin: owner.key })[
          operation.access as string
        ] ?? null,
    ],
  ])("answers 401 to %s", async (_what, key) => {
    const reply = await callerOf(casemate.url, key())(operation.method, pathOf(operation), bodyOf(operation));
    expect(reply.status).toBe(401);
    isError(reply.body);
    expect(reply.body.kind).toBe("UNAUTHORIZED");
  });
});

describe.each(named(WORKLOADS.filter(({ bodyKind }) => bodyKind === "json")))(
  "%s with a bad body",
  (_id, operation) => {
    const caller = () =>
      operation.access === "admin" ? admin : /^host/.test(operation.access) ? host : owner;
    it.each([
      ["not JSON", "{", "MALFORMED_REQUEST"],
      ["an array", "[]", "INVALID_PAYLOAD"],
      ["null", "null", "INVALID_PAYLOAD"],
      [
        "a wrong type everywhere",
        '{"name":[],"workloadId":{},"accountId":1,"version":{},"tierId":[],"apiKeyId":[],"credits":"x","balance":{}}',
        "INVALID_PAYLOAD",
      ],
      ["too deep", "[".repeat(200) + "]".repeat(200), "MALFORMED_REQUEST"],
    ])("%s is 400", async (_what, body, kind) => {
      const reply = await caller()(operation.method, pathOf(operation), body, {
        "content-type": "application/json",
      });
      expect([reply.status, reply.body.kind]).toEqual([400, kind]);
      isError(reply.body);
    });

    it("larger than it may be is 413", async () => {
      const body = Buffer.alloc(operation.bodyLimit + 1, 0x20);
      const reply = await caller()(operation.method, pathOf(operation), body, {
        "content-type": "application/json",
      });
      expect([reply.status, reply.body.kind]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
    });

    it("of another media type is 415", async () => {
      const reply = await caller()(operation.method, pathOf(operation), "x", { "content-type": "image/png" });
      expect([reply.status, reply.body.kind]).toEqual([415, "UNSUPPORTED_MEDIA_TYPE"]);
    });
  },
);

it("a wrong method is 405 and names the right ones, and an unknown path is 404", async () => {
  const wrong = await owner("DELETE", "/api/v1/workloads/create");
  expect([wrong.status, wrong.body.kind, wrong.headers.get("allow")]).toEqual([
    405,
    "METHOD_NOT_ALLOWED",
    "POST",
  ]);
  const unknown = await owner("GET", "/api/v1/nothing");
  expect([unknown.status, unknown.body.kind]).toEqual([404, "NOT_FOUND"]);
});

it("every example of the document is accepted by what it is an example of", async () => {
  const { body: document } = await owner("GET", "/openapi.json");
  expect(Object.keys(document.paths)).toContain("/api/v1/workloads/create");
  const reply = await owner("POST", "/api/v1/workloads/create?dryRun=1", bodyOf(WORKLOADS[0]!));
  expect(reply.body).toMatchObject({ valid: true, issues: [] });
});
