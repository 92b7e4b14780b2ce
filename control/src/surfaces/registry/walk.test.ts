// SPDX-License-Identifier: Apache-2.0
/** Walks every operation of the contract: nothing answers without a key, and a stranger's key finds nothing. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Operation } from "#contract/operation.ts";
import { REGISTRY } from "#contract/registry/index.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { digestOf, pushImage, registryCaller } from "./testing.ts";

let casemate: Installation;
let account: string;
let key: string;
let strangersKey: string;
let sessionsKey: string;
let upload: string;
const layer = randomBytes(20);

beforeAll(async () => {
  casemate = await startInstallation({ withHost: false, config: { workloads: { requestsPerMinute: null } } });
  const admin = callerOf(casemate.url, casemate.adminKey);
  const open = async (name: string) => (await admin("POST", "/api/v1/accounts/create", { name })).body;
  ({ accountId: account, apiToken: key } = await open("owner"));
  strangersKey = (await open("stranger")).apiToken;
  sessionsKey = (await casemate.account()).key!;
  const me = registryCaller(casemate.url, key);
  await pushImage(me, `${account}/app`, "v1", [layer]);
  const started = await me("POST", `/v2/${account}/app/blobs/uploads/`);
  upload = started.headers.get("docker-upload-uuid")!;
});
afterAll(() => casemate[Symbol.asyncDispose]());

const pathOf = ({ path }: Operation, name: string) =>
  path
    .replace(":name", name)
    .replace(":digest", digestOf(layer))
    .replace(":upload", upload)
    .replace(":reference", "v1");
const named = REGISTRY.filter(({ path }) => path.includes(":name"));
const each = (operations: readonly Operation[]) => operations.map((one) => [one.id, one] as const);

describe.each(each(REGISTRY))("%s", (_id, operation) => {
  it.each([
    ["no key", () => null],
    ["a wrong key", () => `cm_wl_${"A".repeat(32)}`],
    ["a malformed key", () => "x y"],
    ["an empty key", () => ""],
    ["a key of the sessions surface", () => sessionsKey],
    ["the operator's key", () => casemate.adminKey],
  ])("answers 401 to %s, in the registry's form", async (_what, presented) => {
    const call = registryCaller(casemate.url, presented());
    const reply = await call(operation.method, pathOf(operation, `${account}/app`));
    expect([reply.status, reply.headers.get("www-authenticate")]).toEqual([401, 'Basic realm="casemate"']);
    if (operation.method !== "HEAD")
      expect(reply.json).toEqual({
        errors: [
          {
            ...{ code: "UNAUTHORIZED", message: expect.any(String) },
            detail: { requestId: expect.stringMatching(/^req_/) },
          },
        ],
      });
  });

  it("is answered by the owner's key with no 401 and no fault of ours", async () => {
    // Of what removes, a name that is not there: the walk goes on with what is.
    const name = operation.method === "DELETE" ? `${account}/none` : `${account}/app`;
    const reply = await registryCaller(casemate.url, key)(operation.method, pathOf(operation, name));
    expect([200, 201, 202, 204, 400, 404, 415]).toContain(reply.status);
  });
});

describe.each(each(named))("%s with a stranger's key", (_id, operation) => {
  it("is answered exactly as for a repository that never was", async () => {
    const call = registryCaller(casemate.url, strangersKey);
    const ask = (name: string) => {
      const query = operation.method === "PUT" && "query" in operation ? `?digest=${digestOf(layer)}` : "";
      return call(operation.method, pathOf(operation, name) + query, null, {
        "content-type": "application/vnd.oci.image.manifest.v1+json",
      });
    };
    const [theirs, never] = [await ask(`${account}/app`), await ask(`acct_${"0".repeat(32)}/app`)];
    const said = (reply: typeof theirs) => [reply.status, reply.code, reply.json?.errors?.[0]?.message];
    expect(said(theirs)).toEqual(said(never));
    expect([400, 404]).toContain(theirs.status);
  });
});

it("a method that a path has not is 405, and names those it has", async () => {
  const call = registryCaller(casemate.url, key);
  for (const [method, path, has] of [
    ["PUT", `/v2/${account}/app/tags/list`, "GET"],
    ["POST", `/v2/${account}/app/manifests/v1`, "HEAD, GET, PUT, DELETE"],
    ["DELETE", "/v2/", "GET"],
  ] as const) {
    const reply = await call(method, path);
    expect([reply.status, reply.code]).toEqual([405, "UNSUPPORTED"]);
    expect(reply.json.errors[0].message).toContain(has);
  }
});

it("keys of other surfaces' clients are counted against the same minute as all their requests", async () => {
  await using limited = await startInstallation({
    withHost: false,
    config: { workloads: { requestsPerMinute: 5 } },
  });
  const admin = callerOf(limited.url, limited.adminKey);
  const { body } = await admin("POST", "/api/v1/accounts/create", { name: "busy" });
  const call = registryCaller(limited.url, body.apiToken);
  const replies = [];
  for (let n = 0; n < 12; n++) replies.push(await call("GET", "/v2/"));
  const refused = replies.find(({ status }) => status === 429)!;
  expect(refused.code).toBe("TOOMANYREQUESTS");
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
});
