// SPDX-License-Identifier: Apache-2.0
/** Disk that is kept counts, whether anything runs on it or not: towards its account, and towards its host. */
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";

/** Room for two of the smallest tier. */
const DISK_GB = 12;
const driver = new FakeKeptDriver();
let casemate: Installation;
let admin: Caller;
beforeAll(async () => {
  casemate = await startInstallation({
    kept: driver,
    config: { workloads: { diskGbPerAccount: DISK_GB, requestsPerMinute: null } },
  });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const account = async (): Promise<Caller> => {
  const { body } = await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1000 });
  return callerOf(casemate.url, body.apiToken);
};
const ASK = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  ...{ dockerCompose: "services:\n  api:\n    image: caddy:2", memory: 512, cpus: 1, disk: 5 },
};
const create = (me: Caller, query = "") => me("POST", `/api/v1/workloads/create${query}`, ASK);
const act = async (me: Caller, verb: string, workloadId: string) =>
  (await me("POST", `/api/v1/workloads/${verb}`, { workloadId })).status;
const stopped = async (me: Caller, workloadId: string) => {
  expect(await act(me, "stop", workloadId)).toBe(200);
  await expect
    .poll(async () => (await me("GET", `/api/v1/workloads/${workloadId}`)).body.status, { timeout: 10_000 })
    .toBe("stopped");
};
const isRefused = ({ status, body }: Awaited<ReturnType<Caller>>) =>
  status === 400 && body.kind === "RESOURCE_LIMIT";

it("an account has no more of it than its limit, stopped workloads included, and has it back after a delete", async () => {
  const me = await account();
  const made = [await create(me), await create(me)];
  expect(made.map(({ status }) => status)).toEqual([201, 201]);
  expect(isRefused(await create(me))).toBe(true);
  for (const { body } of made) await stopped(me, body.workloadId);
  expect(isRefused(await create(me))).toBe(true);
  const dry = (await create(me, "?dryRun=1")).body;
  expect([dry.valid, dry.issues.map(({ path }: { path: string }) => path)]).toEqual([false, ["disk"]]);
  const { usage, limits } = (await me("GET", "/api/v1/accounts/me")).body;
  expect([usage.diskGb, limits.diskGb]).toEqual([10, DISK_GB]);
  await expectRoomAndMoney(casemate.control.db.run);
  expect(await act(me, "delete", made[0]!.body.workloadId)).toBe(200);
  expect(await act(me, "delete", made[0]!.body.workloadId)).toBe(404);
  expect((await create(me)).status).toBe(201);
  expect(isRefused(await create(me))).toBe(true);
  await expectRoomAndMoney(casemate.control.db.run);
});

it("many creates at once, of one account or of several, take no more than there is", async () => {
  const owners = await Promise.all(Array.from({ length: 4 }, account));
  const replies = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => ({ n: n % 4, reply: await create(owners[n % 4]!) })),
  );
  for (const [n] of owners.entries()) {
    const its = replies.filter((each) => each.n === n).map(({ reply }) => reply);
    expect(its.filter(({ status }) => status === 201)).toHaveLength(2);
    expect(its.filter(isRefused)).toHaveLength(3);
  }
  await expectRoomAndMoney(casemate.control.db.run);
});

it("a host whose disk is held by workloads that stand gets no other", async () => {
  const [one, other] = [await account(), await account()];
  const { db } = casemate.control;
  const { workloadId } = (await create(one)).body;
  await stopped(one, workloadId);
  await sql`update hosts set disk_mib = disk_used + 4096`.execute(db.run);
  const full = await create(other);
  expect([full.status, full.body.kind]).toEqual([503, "NOT_ENOUGH_RESOURCES"]);
  expect(await act(one, "start", workloadId)).toBe(200);
  await act(one, "delete", workloadId);
  // When the host has removed it.
  await expect.poll(async () => (await create(other)).status, { timeout: 10_000 }).toBe(201);
  await expectRoomAndMoney(db.run);
});
