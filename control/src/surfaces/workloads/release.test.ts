// SPDX-License-Identifier: Apache-2.0
/** Secrets of a workload reach the machine that its owner approved, and no other. The host of these tests boots what it likes. */
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { pruneImagesCommand } from "#cli/images.ts";
import { measureCommand } from "#cli/measure.ts";
import { sealCommand } from "#cli/seal-env.ts";
import { metadataText } from "#images/metadata.ts";
import { listImages } from "#images/store.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { printedBy } from "#testing/printed.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-images-"));
const driver = new AttestedDriver();
let casemate: Installation;
let admin: Caller;
let owner: Caller;
let accountId: string;
let apiToken: string;
let image: Awaited<ReturnType<typeof writeSpecimenImage>>;

const VERSION = "0.1.0";
const COMPOSE = "services:\n  api:\n    image: caddy:2\n    environment: [SECRET]\n";

beforeAll(async () => {
  image = await writeSpecimenImage(folder, VERSION);
  driver.images.set(image.sha256, image.metadata);
  casemate = await startInstallation({
    kept: driver,
    config: { imagesFolder: folder, workloads: { isolation: "vm-vtpm", requestsPerMinute: null } },
  });
  admin = callerOf(casemate.url, casemate.adminKey);
  const account = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1000 })).body;
  apiToken = account.apiToken;
  owner = callerOf(casemate.url, apiToken);
  accountId = account.accountId;
});
afterEach(() => {
  driver.deviation = {};
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const ask = (more: object = {}) => ({
  ...{ name: "w", artifactsVersion: VERSION, publicContainerName: "api", publicContainerPort: 80 },
  ...{ memory: 512, cpus: 1, disk: 5, gpus: 0, dockerCompose: COMPOSE, envVars: { SECRET: "s3cret" } },
  ...more,
});
async function create(more: object = {}): Promise<string> {
  const made = await owner("POST", "/api/v1/workloads/create", ask(more));
  expect([made.status, made.body]).toMatchObject([201, { isolation: "vm-vtpm", imageSha256: image.sha256 }]);
  return made.body.workloadId;
}
const workload = async (id: string) => (await owner("GET", `/api/v1/workloads/${id}`)).body;
const becomes = (id: string, status: string) =>
  expect.poll(async () => (await workload(id)).status, { timeout: 20_000 }).toBe(status);
const lastError = async (id: string): Promise<string> => {
  const { events } = (await owner("POST", "/api/v1/workload-events/list", { workloadId: id })).body;
  return events.findLast(({ details }: { details: { kind: string } }) => details.kind === "failedToStart")
    ?.details.error;
};
const machineOf = async (id: string): Promise<string> => {
  const { rows } = await sql<{
    machine_id: string;
  }>`select machine_id from workloads where id = ${id}::uuid`.execute(casemate.control.db.run);
  return rows[0]!.machine_id;
};
const secretsOf = async (id: string) => driver.secrets.get(await machineOf(id));
const remove = (id: string) => owner("POST", "/api/v1/workloads/delete", { workloadId: id });
const launches = async (id: string) =>
  (await owner("POST", "/api/v1/workloads/launches/list", { workloadId: id })).body;

it("a machine that shows the expected evidence gets what its owner gave, and the verdict is kept", async () => {
  const id = await create({ files: { "a.txt": "aGk=" } });
  await becomes(id, "running");
  expect(await secretsOf(id)).toMatchObject({
    ...{ v: 1, compose: COMPOSE, env: { SECRET: "s3cret" }, files: { "a.txt": "aGk=" }, registries: [] },
    stateKey: expect.stringMatching(/^[A-Za-z0-9+/]{86}==$/),
  });
  const { rows } = await sql<{
    accepted: boolean;
    hardware: boolean;
    steps: { name: string; ok: boolean }[];
  }>`
    select accepted, hardware, steps from attestations where workload_id = ${id}::uuid`.execute(
    casemate.control.db.run,
  );
  expect(rows).toMatchObject([{ accepted: true, hardware: false }]);
  expect(rows[0]!.steps.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      "signature",
      "endorsement",
      "nonce",
      "key-known",
      "pcr4",
      "pcr9",
      "pcr11",
      "pcr12",
    ]),
  );
  expect(await launches(id)).toMatchObject([{ imageSha256: image.sha256, approvedBy: expect.any(String) }]);
  await remove(id);
});

it.each([
  ["words after the command line", { appended: " init=/bin/sh" }, /refused at pcr9/],
  ["a key that no TPM holds", { withoutTpm: true }, /refused at key-known/],
])("a host that starts a machine with %s gets no secret", async (_, deviation, why) => {
  driver.deviation = deviation;
  const id = await create();
  await becomes(id, "error");
  expect(await lastError(id)).toMatch(why);
  expect(await secretsOf(id)).toBeUndefined();
  await remove(id);
});

it("another image than the workload's is refused by its registers", async () => {
  const { metadata } = await writeSpecimenImage(mkdtempSync(join(folder, "other-")), VERSION, "another");
  driver.deviation = { image: metadata };
  const id = await create();
  await becomes(id, "error");
  expect(await lastError(id)).toMatch(/refused at pcr4/);
  expect(await secretsOf(id)).toBeUndefined();
  await remove(id);
});

it("what an earlier guest said, and a key beside the evidence, open nothing", async () => {
  const first = await create();
  await becomes(first, "running");
  driver.deviation = { replay: true };
  const second = await create();
  await becomes(second, "error");
  expect(await lastError(second)).toMatch(/refused at nonce/);
  driver.deviation = { ownKey: true };
  const third = await create();
  await becomes(third, "error");
  expect(await lastError(third)).toMatch(/refused at nonce/);
  expect(await secretsOf(third)).toBeUndefined();
  for (const id of [first, second, third]) await remove(id);
});

it("the disk's key stays with the workload through other variables and another image, and goes with it", async () => {
  const id = await create();
  await becomes(id, "running");
  const key = (await secretsOf(id))!.stateKey;
  const restarted = async (work: () => Promise<{ status: number }>) => {
    driver.secrets.clear();
    expect((await work()).status).toBe(200);
    await expect.poll(() => secretsOf(id), { timeout: 20_000 }).toBeDefined();
    return (await secretsOf(id))!;
  };
  const body = { workloadId: id, envVars: { SECRET: "s3cret", NEW: "n" } };
  expect(await restarted(() => owner("POST", "/api/v1/workloads/restart", body))).toMatchObject({
    ...{ stateKey: key, env: { NEW: "n" } },
  });
  const newer = await writeSpecimenImage(folder, VERSION, "newer");
  driver.images.set(newer.sha256, newer.metadata);
  const update = { workloadId: id, artifactsVersion: VERSION };
  expect(await restarted(() => owner("PUT", "/api/v1/workloads/update", update))).toMatchObject({
    stateKey: key,
  });
  expect(await workload(id)).toMatchObject({ imageSha256: newer.sha256 });
  image = newer;
  await remove(id);
  const { rows } = await sql`select from workload_state_keys where workload_id = ${id}::uuid`.execute(
    casemate.control.db.run,
  );
  expect(rows).toEqual([]);
});

it("where changes do not approve themselves, a changed compose file waits for its owner's word", async () => {
  const rule = (launchApproval: string) =>
    owner("PUT", "/api/v1/accounts/update", { accountId, name: "a", launchApproval });
  const id = await create();
  await becomes(id, "running");
  const key = (await secretsOf(id))!.stateKey;
  expect((await rule("explicit")).body).toMatchObject({ launchApproval: "explicit" });
  driver.secrets.clear();
  const dockerCompose = `${COMPOSE}    # another\n`;
  await owner("PUT", "/api/v1/workloads/update", { workloadId: id, dockerCompose });
  await becomes(id, "error");
  expect(await lastError(id)).toMatch(/not approved by the workload's owner/);
  expect(await secretsOf(id)).toBeUndefined();
  const [refused] = await launches(id);
  expect(refused).toMatchObject({ approvedAt: null });
  const stranger = callerOf(
    casemate.url,
    (await admin("POST", "/api/v1/accounts/create", { name: "b", credits: 1 })).body.apiToken,
  );
  const approval = {
    workloadId: id,
    ...{ imageSha256: refused.imageSha256, launchSha256: refused.launchSha256 },
  };
  expect((await stranger("POST", "/api/v1/workloads/launches/approve", approval)).status).toBe(404);
  expect((await owner("POST", "/api/v1/workloads/launches/approve", approval)).body).toMatchObject({
    approvedBy: expect.any(String),
  });
  await owner("POST", "/api/v1/workloads/restart", { workloadId: id });
  await becomes(id, "running");
  expect(await secretsOf(id)).toMatchObject({ stateKey: key, compose: dockerCompose });
  await rule("change");
  await remove(id);
});

it("an owner challenges a machine for a nonce of theirs, anybody judges the answer again, and a revocation is told", async () => {
  const id = await create();
  await becomes(id, "running");
  const nonce = "ab".repeat(32);
  const made = await owner("POST", "/platform/v1/attestations", { workload_id: id, nonce });
  expect(made.status).toBe(201);
  expect(made.body).toMatchObject({
    ...{ workload_id: id, purpose: "report", accepted: true, hardware: false },
    nonce,
  });
  const { evidence, beside, policy, bound, key_name } = made.body;
  const brought = { evidence, beside, policy, bound, key_name };
  const again = await owner("POST", "/platform/v1/attestations", brought);
  expect(again.body).toMatchObject({ workload_id: null, purpose: "brought", accepted: true });
  const other = { ...brought, bound: "00".repeat(32) };
  expect((await owner("POST", "/platform/v1/attestations", other)).body).toMatchObject({ accepted: false });
  const nine = policy.tpm.pcrs["9"][0];
  const revoked = await admin("POST", "/platform/v1/revocations", { value: nine, reason: "a test of it" });
  // What was asked before the secrets were given, what the owner asked, and what they brought.
  expect([revoked.status, revoked.body]).toMatchObject([201, { verdicts_lost: 3 }]);
  expect((await owner("GET", `/platform/v1/attestations/${made.body.id}`)).body).toMatchObject({
    accepted: false,
    steps: expect.arrayContaining([expect.objectContaining({ name: "not-revoked", ok: false })]),
  });
  const { events } = (await owner("GET", "/platform/v1/events?type=attestation.revoked")).body;
  expect(events).toHaveLength(3);
  expect((await owner("POST", "/platform/v1/attestations", brought)).body).toMatchObject({ accepted: false });
  // The next start gets nothing either.
  driver.secrets.clear();
  await owner("POST", "/api/v1/workloads/restart", { workloadId: id });
  await becomes(id, "error");
  expect(await lastError(id)).toMatch(/refused at not-revoked/);
  const list = (await owner("GET", `/platform/v1/attestations?workload_id=${id}&accepted=false&limit=2`))
    .body;
  expect(list.attestations).toHaveLength(2);
  const rest = await owner("GET", `/platform/v1/attestations?workload_id=${id}&cursor=${list.next_cursor}`);
  expect(rest.body.attestations.map((one: { id: string }) => one.id)).toEqual([expect.any(String)]);
  await sql`delete from revoked_references`.execute(casemate.control.db.run);
  await remove(id);
});

it("variables that their owner seals are never in this installation, and each start waits for them", async () => {
  const compose = join(folder, "sealed.yaml");
  writeFileSync(compose, COMPOSE);
  writeFileSync(join(folder, "image.json"), metadataText(image.metadata));
  writeFileSync(join(folder, "env"), "# of mine\nTOKEN=t0ken=with=signs\n");
  writeFileSync(join(folder, "key"), apiToken);
  const said: string[] = [];
  const seal = (id: string, more: object = {}) =>
    sealCommand(
      id,
      {
        ...{ url: casemate.url, keyFile: join(folder, "key"), envFile: join(folder, "env"), compose },
        ...{ image: join(folder, "image.json"), ...more },
      },
      (text) => said.push(text),
    );
  const id = await create({ sealedEnv: ["TOKEN"] });
  expect(await workload(id)).toMatchObject({ secrets: "sealed", sealedEnv: ["TOKEN"] });
  const waits = async () => {
    const { events } = (await owner("POST", "/api/v1/workload-events/list", { workloadId: id })).body;
    return events.filter(({ details }: { details: { message?: string } }) =>
      details.message?.includes("waits for its owner"),
    ).length;
  };
  await expect.poll(waits, { timeout: 20_000 }).toBe(1);
  // Another's compose file is not what runs there, so nothing is sealed.
  writeFileSync(join(folder, "other.yaml"), `${COMPOSE}# other\n`);
  expect(await seal(id, { compose: join(folder, "other.yaml") })).toBe(1);
  expect(said.join("")).toContain("FAIL compose");
  expect(await seal(id)).toBe(0);
  await becomes(id, "running");
  expect((await secretsOf(id))!.env).toEqual({ SECRET: "s3cret", TOKEN: "t0ken=with=signs" });
  const holding = await sql<{ n: number }>`
    select count(*)::int as n from workload_sealed_env where position('t0ken'::bytea in box) > 0`.execute(
    casemate.control.db.run,
  );
  expect(holding.rows[0]!.n).toBe(0);
  driver.secrets.clear();
  await owner("POST", "/api/v1/workloads/restart", { workloadId: id });
  await expect.poll(waits, { timeout: 20_000 }).toBe(2);
  expect(await secretsOf(id)).toBeUndefined();
  expect(await seal(id)).toBe(0);
  await becomes(id, "running");
  await remove(id);
  const clash = ask({ sealedEnv: ["SECRET"] });
  expect((await owner("POST", "/api/v1/workloads/create", clash)).body).toMatchObject({
    kind: "RESERVED_ENVIRONMENT_VARIABLE",
  });
  const inContainer = ask({ sealedEnv: ["TOKEN"], isolation: "container" });
  expect((await owner("POST", "/api/v1/workloads/create", inContainer)).status).toBeGreaterThanOrEqual(400);
});

it("anybody gets what it takes to judge a machine here: the image's metadata and the roots of TPMs", async () => {
  const text = await (await fetch(`${casemate.url}/guest-images/${image.sha256}`)).text();
  expect(createHash("sha256").update(text).digest("hex")).toBe(image.sha256);
  expect((await fetch(`${casemate.url}/guest-images/${"0".repeat(64)}`)).status).toBe(404);
  const roots = await (await fetch(`${casemate.url}/tpm-roots.pem`)).text();
  expect(roots.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
});

it("what is stopped, changed or deleted while it is judged is given nothing", async () => {
  for (const change of ["stop", "delete"] as const) {
    const held = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    driver.deviation = {
      onEvidence: async () => {
        asked.resolve();
        await held.promise;
      },
    };
    const id = await create();
    const machine = await machineOf(id);
    await asked.promise;
    expect((await owner("POST", `/api/v1/workloads/${change}`, { workloadId: id })).status).toBe(200);
    held.resolve();
    driver.deviation = {};
    await expect
      .poll(
        async () =>
          (
            await sql<{ state: string }>`select state from machines where id = ${machine}`.execute(
              casemate.control.db.run,
            )
          ).rows[0]!.state,
        { timeout: 20_000 },
      )
      .toMatch(/halted|ended/);
    expect(driver.secrets.get(machine)).toBeUndefined();
    const keys = await sql`select from workload_state_keys where workload_id = ${id}::uuid`.execute(
      casemate.control.db.run,
    );
    expect(keys.rows).toEqual([]);
    if (change === "stop") await remove(id);
  }
});

it("a key that may only write changes no rule and approves nothing", async () => {
  const { apiKey: key } = (
    await owner("POST", "/api/v1/api-keys/create", { accountId, name: "narrow", scopes: ["workloads:write"] })
  ).body;
  const narrow = callerOf(casemate.url, key);
  const rules = { accountId, name: "a", launchApproval: "change" };
  expect([401, 403]).toContain((await narrow("PUT", "/api/v1/accounts/update", rules)).status);
  const approval = {
    workloadId: "00000000-0000-4000-8000-000000000000",
    imageSha256: "0".repeat(64),
    launchSha256: "0".repeat(64),
  };
  expect([401, 403]).toContain((await narrow("POST", "/api/v1/workloads/launches/approve", approval)).status);
  expect((await narrow("PUT", "/api/v1/accounts/update", { accountId, name: "a" })).status).toBe(200);
});

it("a dry run says what the machine's evidence will have to show", async () => {
  const { body } = await owner("POST", "/api/v1/workloads/create?dryRun=1", ask());
  expect(body).toMatchObject({
    valid: true,
    expectedMeasurement: {
      isolation: "vm-vtpm",
      imageSha256: image.sha256,
      policy: { tpm: { pcrs: { 9: [expect.any(String)] } } },
    },
  });
  const { manifest, launchSha256, commandLine } = body.expectedMeasurement;
  expect(createHash("sha256").update(manifest).digest("hex")).toBe(launchSha256);
  expect(commandLine).toContain(`casemate.launch=${launchSha256}`);
  expect(JSON.parse(manifest).compose).toBe(createHash("sha256").update(COMPOSE).digest("hex"));
});

it("anybody computes the same expectation from the compose file and the image alone", async () => {
  const digest = `caddy@sha256:${"1".repeat(64)}`;
  const dockerCompose = `services:\n  api:\n    image: ${digest}\n    volumes: ["$FILES/a.txt:/a.txt"]\n`;
  const given = ask({ dockerCompose, files: { "a.txt": "aGk=" } });
  const { expectedMeasurement: said } = (await owner("POST", "/api/v1/workloads/create?dryRun=1", given))
    .body;
  const [domain] = JSON.parse(said.manifest).domains;
  writeFileSync(join(folder, "docker-compose.yaml"), dockerCompose);
  writeFileSync(join(folder, "a.txt"), "hi");
  writeFileSync(join(folder, "image.json"), metadataText(image.metadata));
  const argv = [
    join(folder, "docker-compose.yaml"),
    "--image",
    join(folder, "image.json"),
    "--domain",
    domain,
  ];
  argv.push(
    "--service",
    "api",
    "--port",
    "80",
    "--disk",
    "--file",
    `a.txt=${join(folder, "a.txt")}`,
    "--json",
  );
  const { code, out } = await printedBy((printer) => measureCommand(argv, printer));
  expect(code).toBe(0);
  const { policy, ...computed } = JSON.parse(out);
  expect(said).toMatchObject(computed);
  expect(said.policy.tpm.pcrs).toEqual(policy.tpm.pcrs);
  expect(JSON.parse(said.manifest).images).toEqual({ api: digest });
});

it("a machine that nobody measures is given what it needs, and nothing is said to be shown by it", async () => {
  const plain = new AttestedDriver("vm");
  plain.images.set(image.sha256, image.metadata);
  const other = await startInstallation({ kept: plain, config: { imagesFolder: folder } });
  try {
    const { apiToken: key } = (
      await callerOf(other.url, other.adminKey)("POST", "/api/v1/accounts/create", { name: "a", credits: 9 })
    ).body;
    const me = callerOf(other.url, key);
    const made = await me("POST", "/api/v1/workloads/create", ask({ isolation: "vm" }));
    expect([made.status, made.body]).toMatchObject([201, { isolation: "vm" }]);
    const { workloadId } = made.body;
    const status = async () => (await me("GET", `/api/v1/workloads/${workloadId}`)).body.status;
    await expect.poll(status, { timeout: 20_000 }).toBe("running");
    expect([...plain.secrets.values()]).toMatchObject([{ env: { SECRET: "s3cret" } }]);
    const challenged = await me("POST", "/platform/v1/attestations", { workload_id: workloadId });
    expect([challenged.status, challenged.body.message]).toEqual([
      409,
      expect.stringContaining("isolation is vm"),
    ]);
    const dry = await me("POST", "/api/v1/workloads/create?dryRun=1", ask({ isolation: "vm" }));
    expect(dry.body).toMatchObject({ valid: true, expectedMeasurement: null });
    const sealed = await me(
      "POST",
      "/api/v1/workloads/create",
      ask({ isolation: "vm", sealedEnv: ["TOKEN"] }),
    );
    expect(sealed.status).toBe(400);
    await me("POST", "/api/v1/workloads/delete", { workloadId });
  } finally {
    await other[Symbol.asyncDispose]();
    for (const each of [...plain.running.keys()]) await plain.remove(each);
  }
});

it("images of former builds are removed when no workload is started from them, or may be, and control says so", async () => {
  const state = mkdtempSync(join(tmpdir(), "casemate-state-"));
  const images = join(state, "images");
  cpSync(folder, images, { recursive: true, verbatimSymlinks: true });
  const target = { state, url: casemate.url, key: casemate.adminKey, json: true };
  const inUse = async (key: string | null) => callerOf(casemate.url, key)("GET", "/platform/v1/guest-images");
  const strangers = [null, `nrx_live_${"A".repeat(32)}`, apiToken];
  expect(await Promise.all(strangers.map(async (key) => (await inUse(key)).status))).toEqual([401, 401, 403]);
  const [first, second] = [await create(), await create()];
  const old = image;
  expect((await inUse(casemate.adminKey)).body).toEqual({ images: [{ sha256: old.sha256, workloads: 2 }] });
  const there = () => listImages(images).map(({ metadataSha256 }) => metadataSha256);
  const last = await writeSpecimenImage(images, VERSION, "last");
  await expect(pruneImagesCommand({ state })).rejects.toThrow(/nobody here knows/);
  await expect(pruneImagesCommand({ ...target, key: apiToken })).rejects.toThrow(/403/);
  expect(there().length).toBeGreaterThan(1);
  expect(await pruneImagesCommand(target)).toBe(0);
  expect(new Set(there())).toEqual(new Set([old.sha256, last.sha256]));
  await remove(first);
  expect(await pruneImagesCommand(target)).toBe(0);
  expect(there()).toContain(old.sha256);
  await remove(second);
  await expect.poll(async () => (await inUse(casemate.adminKey)).body).toEqual({ images: [] });
  expect(await pruneImagesCommand(target)).toBe(0);
  expect(there()).toEqual([last.sha256]);
  rmSync(state, { recursive: true });
});

it("a machine without a disk holds room of its host's for what it unpacks, until it is deleted", async () => {
  const name = "diskless";
  const tier = { name, cpus: 1, gpus: 0, memoryMb: 512, diskGb: 0, cost: 1 };
  expect((await admin("POST", "/api/v1/workload-tiers/create", tier)).status).toBe(201);
  const usedMiB = async () =>
    (await sql<{ used: number }>`select disk_used as used from hosts`.execute(casemate.control.db.run))
      .rows[0]!.used;
  const beforeMiB = await usedMiB();
  const id = await create({ disk: 0 });
  expect(await usedMiB()).toBe(beforeMiB + 1024);
  await becomes(id, "running");
  await owner("POST", "/api/v1/workloads/stop", { workloadId: id });
  await becomes(id, "stopped");
  expect(await usedMiB()).toBe(beforeMiB + 1024);
  await remove(id);
  await expect.poll(usedMiB, { timeout: 20_000 }).toBe(beforeMiB);
  await expectRoomAndMoney(casemate.control.db.run);
});

it("what no host offers is said, and less than the account's rule is refused", async () => {
  const asked = (isolation: string) => owner("POST", "/api/v1/workloads/create", ask({ isolation }));
  expect([(await asked("vm-snp")).status, (await asked("vm-snp")).body]).toMatchObject([
    503,
    { kind: "NOT_ENOUGH_RESOURCES" },
  ]);
  await owner("PUT", "/api/v1/accounts/update", { accountId, name: "a", isolation: "vm" });
  expect((await asked("container")).status).toBe(400);
  await owner("PUT", "/api/v1/accounts/update", { accountId, name: "a", isolation: null });
});
