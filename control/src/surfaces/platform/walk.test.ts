// SPDX-License-Identifier: Apache-2.0
/** Walks every operation that is an account's: nothing answers a stranger, nothing falls over bad input. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Operation } from "#contract/operation.ts";
import { PLATFORM } from "#contract/platform/index.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";

let casemate: Installation;
let me: Caller;
beforeAll(async () => {
  casemate = await startInstallation({
    withHost: false,
    config: {
      webhooks: { allowNetworks: ["127.0.0.1"] },
      sessions: { tiers: { free: { rpm: null } } },
    },
  });
  me = await casemate.account();
});
afterAll(() => casemate[Symbol.asyncDispose]());

const OURS = PLATFORM.filter(({ access }) => access === "account");
const named = (operations: readonly Operation[]) =>
  operations.map((operation) => [operation.id, operation] as const);
const pathOf = ({ path }: Operation) => {
  const prefix = path.includes("/webhooks/") ? "whk" : path.includes("/attestations/") ? "att" : "evt";
  return path.replace(":delivery_id", `whd_${"0".repeat(32)}`).replace(":id", `${prefix}_${"0".repeat(32)}`);
};
const isError = (body: unknown, status: number) =>
  expect(body).toEqual({ error: expect.stringMatching(/^[A-Z]\w+$/), message: expect.any(String), status });

it("finds them", () => expect(OURS.length).toBeGreaterThanOrEqual(12));

describe.each(named(OURS))("%s", (_id, operation) => {
  it.each([
    ["no key", () => null],
    ["a wrong key", () => `nrx_live_${"A".repeat(32)}`],
    ["a malformed key", () => "x y"],
    ["the operator's key", () => casemate.adminKey],
  ])("answers 401 to %s", async (_what, key) => {
    const call = callerOf(casemate.url, key());
    const reply = await call(operation.method, pathOf(operation), operation.example?.body);
    expect(reply.status).toBe(401);
    isError(reply.body, 401);
  });

  if (operation.path.includes(":"))
    it("answers 404 for what never was, and for what is no id", async () => {
      for (const path of [pathOf(operation), operation.path.replaceAll(/:\w+/g, "%00'--")]) {
        const reply = await me(operation.method, path, operation.example?.body);
        expect(reply.status).toBe(404);
        isError(reply.body, 404);
      }
    });

  it("answers 405 to a method that it has not", async () => {
    const reply = await me("PUT", pathOf(operation), {});
    expect([reply.status, reply.headers.get("allow")]).toEqual([
      405,
      expect.stringContaining(operation.method),
    ]);
    isError(reply.body, 405);
  });
});

describe.each(named(OURS.filter(({ bodyKind }) => bodyKind === "json")))(
  "%s with a bad body",
  (_id, operation) => {
    it.each(["{", "[]", '"x"', "null", `${'{"a":'.repeat(1000)}1${"}".repeat(1000)}`])(
      "answers 400 to %.20s",
      async (body) => {
        const reply = await me(operation.method, pathOf(operation), body, {
          "content-type": "application/json",
        });
        expect(reply.status).toBe(400);
        isError(reply.body, 400);
      },
    );

    it("answers 400 to wrong types, to words that are not events, and to members it does not know", async () => {
      const good = operation.example!.body as Record<string, unknown>;
      const wrong = [
        ...Object.keys(good).map((name) => ({ ...good, [name]: 7 })),
        { ...good, events: [] },
        { ...good, events: ["workload.exploded"] },
        { ...good, secret: "whsec_mine" },
        { ...good, description: "x".repeat(257) },
        { ...good, url: `https://example.com/${"x".repeat(2048)}` },
      ];
      for (const body of wrong) {
        const reply = await me(operation.method, pathOf(operation), body);
        expect([body, reply.status]).toEqual([body, 400]);
        isError(reply.body, 400);
      }
    });
  },
);

it("pages and cursors of others are refused", async () => {
  const { id } = (await me("POST", "/platform/v1/webhooks", { url: "https://127.0.0.1/" })).body;
  for (const query of ["cursor=x", "limit=0", "limit=201", "limit=x", "state=lost"]) {
    const reply = await me("GET", `/platform/v1/webhooks/${id}/deliveries?${query}`);
    expect([query, reply.status]).toEqual([query, 400]);
  }
});
