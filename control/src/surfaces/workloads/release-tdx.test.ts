// SPDX-License-Identifier: Apache-2.0
/**
 * What a start on TDX is held to where secrets are released. Quotes here stand under a root that is not Intel's, so each is refused, and
 * every step is still made: what an honest machine fails by its root alone, and a deviating one by one step more.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { AttestedDriver, type Deviation, TDX_FIRMWARE } from "#testing/attested-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-tdx-"));
const driver = new AttestedDriver("vm-tdx");
const VERSION = "0.1.0";
let casemate: Installation;
let owner: Caller;
let image: Awaited<ReturnType<typeof writeSpecimenImage>>;

beforeAll(async () => {
  image = await writeSpecimenImage(join(folder, "images"), VERSION);
  driver.images.set(image.sha256, image.metadata);
  const policyFile = join(folder, "policy.yaml");
  const rtmrs = { 0: [TDX_FIRMWARE[328]], 1: "any", 2: "any", 3: "any" };
  writeFileSync(policyFile, JSON.stringify({ tdx: { mrTds: [TDX_FIRMWARE[136]], rtmrs } }));
  casemate = await startInstallation({
    kept: driver,
    config: {
      imagesFolder: join(folder, "images"),
      workloads: { isolation: "vm-tdx", requestsPerMinute: null },
      attestation: { policyFile },
    },
  });
  const admin = callerOf(casemate.url, casemate.adminKey);
  const account = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1000 })).body;
  owner = callerOf(casemate.url, account.apiToken);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

/** Steps that a start fails where its secrets would be released. */
async function failingOf(deviation: Deviation): Promise<string[]> {
  driver.deviation = deviation;
  const made = await owner("POST", "/api/v1/workloads/create", {
    ...{ name: "w", artifactsVersion: VERSION, publicContainerName: "api", publicContainerPort: 80 },
    ...{ memory: 512, cpus: 1, disk: 5, gpus: 0, envVars: { SECRET: "s3cret" } },
    dockerCompose: "services:\n  api:\n    image: caddy:2\n    environment: [SECRET]\n",
  });
  expect([made.status, made.body]).toMatchObject([201, { isolation: "vm-tdx", imageSha256: image.sha256 }]);
  const id = made.body.workloadId;
  const status = async () => (await owner("GET", `/api/v1/workloads/${id}`)).body.status;
  await expect.poll(status, { timeout: 20_000 }).toBe("error");
  const { rows } = await sql<{ accepted: boolean; steps: { name: string; ok: boolean }[] }>`
    select accepted, steps from attestations where workload_id = ${id}::uuid`.execute(
    casemate.control.db.run,
  );
  expect(rows).toMatchObject([{ accepted: false }]);
  expect(driver.secrets.size).toBe(0);
  await owner("POST", "/api/v1/workloads/delete", { workloadId: id });
  return rows[0]!.steps.filter(({ ok }) => !ok).map(({ name }) => name);
}

/** What nobody but Intel can make. */
const ROOTLESS = ["root", "chain", "collateral-signer", "dates", "revocation", "tcb-info", "qe-identity"];

const isOfGuest = (step: string) => /^(mr|rtmr|report-data)/.test(step);

it("an honest machine meets all that its image, its line, its launch and its host's firmware come to", async () => {
  const failing = await failingOf({});
  expect(failing).toEqual(expect.arrayContaining(ROOTLESS));
  expect(failing.filter(isOfGuest)).toEqual([]);
});

const other = "ee".repeat(48);
it.each<[string, Deviation, string[]]>([
  ["another firmware", { registers: { 136: other } }, ["mrtd"]],
  ["other tables", { registers: { 328: other } }, ["rtmr0"]],
  ["something else first", { registers: { 376: other } }, ["rtmr1"]],
  ["words after the command line", { appended: " init=/bin/sh" }, ["rtmr2"]],
  ["something that a program of its own extended", { registers: { 472: other } }, ["rtmr3"]],
  ["another launch in MRCONFIGID", { registers: { 184: other } }, ["mrconfigid"]],
])("a host that starts %s is refused for that", async (_name, deviation, steps) => {
  const failing = await failingOf(deviation);
  expect(failing.filter(isOfGuest)).toEqual(steps);
});
