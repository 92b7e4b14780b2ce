// SPDX-License-Identifier: Apache-2.0
/** Walks every operation of the contract: nothing answers a stranger, nothing falls over bad input. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Operation } from "#contract/operation.ts";
import { PLATFORM } from "#contract/platform/index.ts";
import { SESSIONS } from "#contract/sessions/index.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";

let casemate: Installation;
let owner: Caller;
let stranger: Caller;
let session: string;
let ended: string;

beforeAll(async () => {
  // The walk asks more often than a free account may.
  casemate = await startInstallation({ config: { sessions: { tiers: { free: { rpm: null } } } } as never });
  owner = await casemate.account();
  stranger = await casemate.account();
  session = (await owner("POST", "/v1/sessions", {})).body.session_id;
  ended = (await owner("POST", "/v1/sessions", {})).body.session_id;
  await owner("DELETE", `/v1/sessions/${ended}`);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const pathOf = (operation: Operation, id: string) =>
  operation.path.replace(":session_id", ended).replace(":id", id).replace("*", "some/file");
const isError = (body: unknown, status: number) =>
  expect(body).toEqual(
    expect.objectContaining({
      error: expect.stringMatching(/^[A-Z]\w+$/),
      message: expect.any(String),
      status,
    }),
  );
const withKey = SESSIONS.filter((operation) => operation.access === "key");
const withBody = SESSIONS.filter((operation) => operation.bodyKind === "json");
const bodyOf = (operation: Operation) =>
  operation.bodyKind === "json" ? operation.example?.body : operation.bodyKind === "none" ? undefined : "x";

describe.each(withKey.map((operation) => [operation.id, operation] as const))("%s", (_id, operation) => {
  it.each([
    ["no key", null],
    ["a wrong key", `nrx_live_${"A".repeat(32)}`],
    ["a malformed key", "nrx_live_ä"],
    ["the operator's key", "admin"],
  ])("answers 401 to %s", async (_name, key) => {
    const header =
      key === "admin" ? casemate.adminKey : key === null ? null : Buffer.from(key).toString("latin1");
    const reply = await callerOf(casemate.url, header)(
      operation.method,
      pathOf(operation, session),
      bodyOf(operation),
    );
    expect(reply.status).toBe(401);
    isError(reply.body, 401);
    expect(reply.headers.get("x-request-id")).toMatch(/^req_/);
  });

  if (operation.path.includes(":")) {
    it("answers a stranger's key exactly as for a session that never was", async () => {
      const theirs = await stranger(operation.method, pathOf(operation, session), bodyOf(operation));
      const missing = pathOf(operation, `sess_${"0".repeat(32)}`).replace(ended, `sess_${"0".repeat(32)}`);
      const never = await stranger(operation.method, missing, bodyOf(operation));
      expect(theirs.status).toBe(404);
      expect(theirs.body).toEqual(never.body);
    });
  }
});

describe.each(withBody.map((operation) => [operation.id, operation] as const))(
  "%s with a bad body",
  (_id, operation) => {
    const send = (body: string, type = "application/json") =>
      owner(operation.method, pathOf(operation, session), body, { "content-type": type });

    it.each([
      ["not JSON", "{"],
      ["an array", "[]"],
      ["a string", '"x"'],
      ["null", "null"],
      ["nested 1,000 deep", `${'{"a":'.repeat(1000)}1${"}".repeat(1000)}`],
      ["invalid UTF-8", "ÿ"],
    ])("answers 400 to %s", async (_name, body) => {
      const raw = body === "ÿ" ? Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) : Buffer.from(body);
      const reply = await owner(operation.method, pathOf(operation, session), raw, {
        "content-type": "application/json",
      });
      expect(reply.status).toBe(400);
      isError(reply.body, 400);
    });

    it("answers 400 to wrong types", async () => {
      for (const [name, value] of Object.entries(operation.example?.body as object)) {
        const wrong = { ...(operation.example?.body as object), [name]: typeof value === "number" ? "x" : 7 };
        const reply = await send(JSON.stringify(wrong));
        expect([name, reply.status]).toEqual([name, 400]);
        expect(reply.body.message).toContain(name);
      }
    });

    it("answers 413 to a body over its limit", async () => {
      const limit = operation.bodyLimit;
      const reply = await owner(operation.method, pathOf(operation, session), Buffer.alloc(limit + 1, 0x20), {
        "content-type": "application/json",
      }).catch((error: Error) => error);
      // The server may close while the client still sends; either way nothing of it was taken.
      if (!(reply instanceof Error)) {
        expect(reply.status).toBe(413);
        isError(reply.body, 413);
      }
    });

    it("answers 415 to another content type", async () => {
      const reply = await send("a=b", "text/csv");
      expect(reply.status).toBe(415);
      isError(reply.body, 415);
    });
  },
);

describe.each(
  PLATFORM.filter(({ access }) => access === "admin").map((operation) => [operation.id, operation] as const),
)("%s", (_id, operation) => {
  it("is for the operator only", async () => {
    const path = operation.path
      .replace(":id", `host_${"0".repeat(32)}`)
      .replace(":client_id", `oc_${"0".repeat(32)}`)
      .replace(":user_id", randomUUID());
    const call = (key: string | null) =>
      callerOf(casemate.url, key)(operation.method, path, operation.example?.body);
    expect((await call(null)).status).toBe(401);
    expect((await call(`cm_admin_${"A".repeat(32)}`)).status).toBe(401);
    const account = await call(owner.key);
    expect(account.status).toBe(403);
    isError(account.body, 403);
    // It is let in: what it asks about may not be there.
    expect([200, 201, 404, 409]).toContain((await call(casemate.adminKey)).status);
  });
});

describe("every path", () => {
  it.each([...new Set(SESSIONS.map((operation) => operation.path))])(
    "%s answers 405 to a method it has not",
    async (path) => {
      const allowed = SESSIONS.filter((operation) => operation.path === path).map(
        (operation) => operation.method as string,
      );
      const other = ["GET", "POST", "PUT", "PATCH", "DELETE"].find((method) => !allowed.includes(method))!;
      const reply = await owner(
        other,
        path.replace(":session_id", ended).replace(":id", session).replace("*", "f"),
      );
      expect(reply.status).toBe(405);
      isError(reply.body, 405);
      expect(reply.headers.get("allow")).toContain(allowed[0]);
    },
  );

  it("refuses HEAD, OPTIONS and TRACE like any other method it has not", async () => {
    for (const method of ["HEAD", "OPTIONS"]) expect((await owner(method, "/v1/sessions")).status).toBe(405);
  });

  it("answers no input with a 500", async () => {
    const cursor = (text: string) => `/v1/sessions?cursor=${Buffer.from(text).toString("base64url")}`;
    const id = `sess_${"0".repeat(32)}`;
    expect((await owner("GET", "/v1/keys/%00")).status).toBe(404);
    expect((await owner("POST", "/v1/verify", { attestation: { key_id: "a\u0000b" } })).body.valid).toBe(
      false,
    );
    expect((await owner("GET", cursor(`2026-02-31T10:00:00.000Z|${id}`))).status).toBe(400);
    expect((await owner("GET", "/v1/sessions/x?wait=never")).status).toBe(400);
    expect((await owner("GET", `/v1/proofs/${ended}?format=auditproof-9`)).status).toBe(400);
    expect(
      (await owner("POST", `/v1/sessions/${session}/exec`, { command: "true", env: { "A=": "b" } })).status,
    ).toBe(400);
    expect(
      (await owner("POST", `/v1/sessions/${session}/exec`, { command: "é".repeat(131_000) })).status,
    ).toBe(400);
  });

  it("answers 304 to what has not changed, in every form of If-None-Match", async () => {
    for (const path of [`/v1/sessions/${ended}`, `/v1/proofs/${ended}`]) {
      const etag = (await owner("GET", path)).headers.get("etag")!;
      for (const header of [etag, `W/${etag}`, `"x", ${etag}`, "*"]) {
        expect((await owner("GET", path, undefined, { "if-none-match": header })).status).toBe(304);
      }
    }
  });

  it("answers 404 to unknown routes in the surface's format", async () => {
    for (const path of ["/v1/nothing", "/", "/v1/sessions/", "/v1/%00", "/v1/sessions/%zz"]) {
      const reply = await owner("GET", path);
      expect([path, reply.status >= 400 && reply.status < 500]).toEqual([path, true]);
      isError(reply.body, reply.status);
    }
  });

  it("keeps its own request id", async () => {
    const reply = await owner("GET", "/v1/customers/me", undefined, { "x-request-id": "mine" });
    expect(reply.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
  });
});

describe("the operator's pages", () => {
  it("serve the API document and its page without loading anything from elsewhere", async () => {
    expect((await casemate.anyone("GET", "/v1/openapi.json")).body.openapi).toBe("3.1.0");
    const page = await fetch(`${casemate.url}/v1/openapi.html`);
    expect(page.status).toBe(200);
    expect([...(await page.text()).matchAll(/(?:src|href)="(https?:[^"]+)"/g)].map(([, url]) => url)).toEqual(
      [],
    );
  });
});
