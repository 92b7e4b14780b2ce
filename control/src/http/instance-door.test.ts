// SPDX-License-Identifier: Apache-2.0
/** What of this API is there for who comes through an instance's door. */
import { request } from "node:http";
import { afterAll, beforeAll, expect, it } from "vitest";
import { INSTANCE_DOOR_ADDRESS } from "#contract/link/instance-door.ts";
import { type Installation, startInstallation } from "#testing/installation.ts";

let casemate: Installation;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
});
afterAll(() => casemate[Symbol.asyncDispose]());

const statusOf = (method: string, path: string, from: string) =>
  new Promise<number>((resolve, reject) => {
    const headers = { authorization: `Bearer ${casemate.adminKey}`, "x-forwarded-for": "127.0.0.1" };
    const call = request(`${casemate.url}${path}`, { method, localAddress: from, headers }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode!));
    });
    call.on("error", reject);
    call.end();
  });

it.each([
  ["GET", "/platform/v1/tenants"],
  ["GET", "/platform/v1/hosts"],
  ["GET", "/v1/usage"],
  ["POST", "/v1/sessions"],
  ["GET", "/v2/"],
  ["PUT", "/v2/acct/x/blobs/uploads/1"],
  ["GET", "/inference/v1/../../v1/usage"],
])("%s %s is not there through an instance's door, whatever key is shown", async (method, path) => {
  expect(await statusOf(method, path, INSTANCE_DOOR_ADDRESS)).toBe(404);
});

it("the gateway of models is, and the rest is as it was for everybody else", async () => {
  expect([401, 403]).toContain(await statusOf("GET", "/inference/v1/models", INSTANCE_DOOR_ADDRESS));
  expect(await statusOf("GET", "/platform/v1/hosts", "127.0.0.1")).toBe(200);
  expect(await statusOf("GET", "/platform/v1/hosts", "127.0.0.78")).toBe(200);
});
