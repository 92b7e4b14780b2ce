// SPDX-License-Identifier: Apache-2.0
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";

const run = promisify(execFile);
const MAIN = new URL("./main.ts", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "casemate-tenants-"));
let casemate: Installation;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
  writeFileSync(join(folder, "key"), casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const tenants = (...args: string[]) =>
  run(process.execPath, [
    MAIN,
    "tenants",
    "create",
    ...args,
    "--url",
    casemate.url,
    "--key",
    `@${join(folder, "key")}`,
  ]);

it("tenants create prints a client that gets a token and acts for its organization", async () => {
  const made = JSON.parse((await tenants("acme", "--json")).stdout);
  expect(made.tenant).toBe("acme");
  const basic = Buffer.from(`${made.oauth_client.client_id}:${made.oauth_client.client_secret}`).toString(
    "base64",
  );
  const reply = await fetch(made.token_url, {
    method: "POST",
    body: new URLSearchParams({ grant_type: "client_credentials" }),
    headers: { authorization: `Basic ${basic}` },
  });
  const { access_token: token } = (await reply.json()) as { access_token: string };
  const { body } = await callerOf(casemate.url, token)("GET", "/cdb/users/me");
  expect(body.ActingFor).toEqual({ Kind: "organization", UUID: made.organization_id, Name: "acme" });
  expect((await callerOf(casemate.url, made.api_keys.workloads)("GET", "/api/v1/accounts/me")).status).toBe(
    200,
  );
});

it("tenants create says what is wrong with a name, and makes nothing of it", async () => {
  await expect(tenants(" ")).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining("name") });
});
