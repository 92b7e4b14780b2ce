// SPDX-License-Identifier: Apache-2.0
/** Walks every operation that takes an access token, of all surfaces: nothing answers a stranger, nothing falls over bad input. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DEVICES } from "#contract/devices/index.ts";
import { IDENTITY, OAUTH } from "#contract/identity/index.ts";
import { MODELS } from "#contract/models/index.ts";
import type { Operation } from "#contract/operation.ts";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";

let casemate: Installation;
let me: Caller & Tenant;
let other: Caller & Tenant;
beforeAll(async () => {
  casemate = await startInstallation({
    ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
  });
  [me, other] = await Promise.all([casemate.tenant("me"), casemate.tenant("other")]);
});
afterAll(() => casemate[Symbol.asyncDispose]());

// What HEAD is answered has no body to be held to the form.
const OURS = [...IDENTITY, ...MODELS, ...DEVICES].filter(
  ({ access, method }) => access === "bearer" && method !== "HEAD",
);
const named = (operations: readonly Operation[]) =>
  operations.map((operation) => [operation.id, operation] as const);
const pathOf = ({ path }: Operation) => path.replaceAll(/:\w+/g, () => randomUUID());
const isError = (body: unknown) =>
  expect(body).toMatchObject({
    Message: expect.any(String),
    Code: expect.any(String),
    RequestID: expect.any(String),
  });

it("finds them", () => expect(OURS.length).toBeGreaterThanOrEqual(2));

describe.each(named(OURS))("%s", (_id, operation) => {
  it.each([
    ["no token", () => null],
    ["a wrong token", () => `${me.key!.slice(0, -8)}AAAAAAAA`],
    ["a malformed token", () => "x"],
    ["the operator's key", () => casemate.adminKey],
    ["a key of the sessions surface", () => `nrx_live_${"A".repeat(32)}`],
  ])("answers 401 to %s", async (_what, key) => {
    const call = callerOf(casemate.url, key());
    const reply = await call(operation.method, pathOf(operation), operation.example?.body);
    expect([reply.status, reply.body.AuthorizationInvalid]).toEqual([401, true]);
    isError(reply.body);
  });

  it("answers 403 to whoever acts for an organization that is not theirs, 400 to half a wish", async () => {
    const headers = { "x-act-as-kind": "organization", "x-act-as-id": other.organizationId };
    const call = (given: Record<string, string>) =>
      me(operation.method, pathOf(operation), operation.example?.body, given);
    const reply = await call(headers);
    expect([reply.status, reply.body.Code]).toEqual([403, "identity.not-a-member"]);
    expect((await call({ "x-act-as-kind": "organization" })).status).toBe(400);
  });

  it("answers a preflight, and shows its headers to pages of other origins", async () => {
    const reply = await me("OPTIONS", pathOf(operation));
    expect(reply.headers.get("access-control-allow-methods")).toContain(operation.method);
  });

  if (operation.bodyKind === "json")
    it("answers 400 to what is no body of its own", async () => {
      for (const body of ["{", '"x"', "null", `${'{"a":'.repeat(1000)}1${"}".repeat(1000)}`]) {
        const type = { "content-type": "application/json" };
        const reply = await me(operation.method, pathOf(operation), body, type);
        // What the path names is looked for first by some.
        expect([body.slice(0, 20), [400, 404].includes(reply.status)]).toEqual([body.slice(0, 20), true]);
        isError(reply.body);
      }
    });
});

describe.each(named(OAUTH))("%s", (_id, operation) => {
  // They are limited per address, and we are one.
  beforeEach(() => sql`delete from rate_windows`.execute(casemate.control.db.run));

  it("answers bad input in the words of the standard or with a page, and never falls over", async () => {
    const path = operation.path.replaceAll(/:\w+/g, "nothing");
    const bodies =
      operation.bodyKind === "none" ? [undefined] : ["", "{", "[]", '{"grant_type":[]}', "a=%ff&a=b", "\0"];
    for (const body of bodies)
      for (const type of body === undefined
        ? [""]
        : ["application/json", "application/x-www-form-urlencoded", "text/plain"])
        for (const query of ["", "?%ff&=&a=1&a=2", `?x=${"y".repeat(4000)}`]) {
          const headers = type === "" ? {} : { "content-type": type };
          const reply = await casemate.anyone(
            operation.method,
            path + query,
            body,
            headers as Record<string, string>,
          );
          expect([path, body, type, query.slice(0, 9), reply.status < 500]).toEqual([
            ...[path, body, type, query.slice(0, 9), true],
          ]);
          if (reply.status >= 400 && reply.headers.get("content-type")?.includes("json"))
            expect(reply.body.error).toEqual(expect.any(String));
        }
  });

  if (operation.bodyKind !== "none")
    it("answers 413 to more than it takes", async () => {
      const path = operation.path.replaceAll(/:\w+/g, "nothing");
      const body = "x".repeat(operation.bodyLimit + 1);
      const reply = await casemate.anyone(operation.method, path, body, {
        "content-type": "application/x-www-form-urlencoded",
      });
      expect([reply.status, reply.body.error]).toEqual([413, "invalid_request"]);
    });
});

it("unknown paths and other methods answer in the form of these surfaces", async () => {
  for (const path of ["/cpt/nothing", "/dev/nothing", "/cdb/nothing"]) {
    const reply = await me("GET", path);
    expect([path, reply.status]).toEqual([path, 404]);
    isError(reply.body);
  }
  const reply = await me("PUT", "/cdb/organizations", {});
  expect([reply.status, reply.headers.get("allow")]).toEqual([405, "GET, POST"]);
  isError(reply.body);
});
