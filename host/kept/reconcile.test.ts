// SPDX-License-Identifier: Apache-2.0
/** What a host does with wishes about kept machines, with a driver whose machines are small HTTP servers. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Desired, Observation } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import type { KeptStart } from "#drivers/kept-driver.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { KeptReconciler, type KeptRoute } from "./reconcile.ts";
import { KeptStore } from "./store.ts";

let folder: string;
let driver: FakeKeptDriver;
let said: Observation[];
let routes: KeptRoute[];
let host: KeptReconciler;
const logged: string[] = [];

function newHost(): KeptReconciler {
  return new KeptReconciler({
    store: new KeptStore(join(folder, "kept")),
    drivers: [driver],
    report: (observation) => void said.push(observation),
    onRoutes: (now) => {
      routes = now;
    },
    refusal: (_, others) => (others.length >= 3 ? "no room" : undefined),
    log: (event) => void logged.push(event),
  });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-kept-"));
  driver = new FakeKeptDriver();
  said = [];
  routes = [];
  logged.length = 0;
  host = newHost();
});
afterEach(async () => {
  await host.close();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const newId = () => `mach_${randomBytes(16).toString("hex")}`;
const wish = (machineId: string, change: Partial<Desired> = {}): Desired => ({
  ...{ machineId, generation: 1, want: "up", incarnation: 1, remainingMs: null, trigger: "api" },
  spec: {
    ...{ isolation: "container", image: null, cpuMillis: 1000, memoryMiB: 512, pidsMax: 100 },
    ...{ network: "own", endProof: null },
    kept: { diskMiB: 1024, labels: {}, domains: [`${machineId.slice(5, 13)}.example`] },
  },
  ...change,
});
const payload = (image = "caddy:2"): Payload => ({
  ...{ kind: "compose", env: {}, files: {}, registries: [], publicService: "api", publicPort: 80 },
  compose: JSON.stringify({ services: { api: { image } } }),
});
const sees = (machineId: string, state: Observation["state"], incarnation = 1) =>
  expect
    .poll(() => said.findLast((one) => one.machineId === machineId))
    .toMatchObject({ state, incarnation });

async function up(id = newId()): Promise<string> {
  host.accept([wish(id)], false);
  await sees(id, "starting");
  host.give(id, 1, payload());
  await sees(id, "running");
  return id;
}

test("a payload that does not come is asked for again, and one of another start is not taken", async () => {
  const id = newId();
  host.accept([wish(id, { incarnation: 2 })], false);
  host.give(id, 1, payload());
  await expect
    .poll(() => said.filter(({ wantsPayload }) => wantsPayload).length, { timeout: 5000 })
    .toBeGreaterThan(1);
  expect(driver.running.size).toBe(0);
  host.give(id, 2, payload());
  await sees(id, "running", 2);
});

test("a machine is routed while it runs, and named without a target while it does not", async () => {
  const id = await up();
  expect(routes).toMatchObject([{ machineId: id, target: { host: "127.0.0.1" } }]);
  host.accept([wish(id, { generation: 2, want: "halted" })], false);
  await sees(id, "halted");
  expect(routes).toMatchObject([{ machineId: id, target: null }]);
  expect(driver.disks.has(id)).toBe(true);
});

test("a wish that is repeated or older changes nothing, and down sticks", async () => {
  const id = await up();
  const { starts } = driver.running.get(id)!;
  host.accept([wish(id), wish(id, { generation: 3 }), wish(id, { generation: 2, want: "halted" })], false);
  await sleep(50);
  expect(driver.running.get(id)?.starts).toBe(starts);
  host.accept([wish(id, { generation: 4, want: "down" }), wish(id, { generation: 5 })], false);
  await sees(id, "ended");
  expect(driver.disks.size).toBe(0);
  expect(readdirSync(join(folder, "kept"))).toEqual([]);
});

test("a wish to halt ends a start that is under way", async () => {
  const id = newId();
  const real = driver.start.bind(driver);
  driver.start = async (...args: [string, Desired["spec"], Payload, KeptStart]) => {
    const { signal } = args[3];
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    return real(...args);
  };
  host.accept([wish(id)], false);
  host.give(id, 1, payload());
  await sleep(50);
  host.accept([wish(id, { generation: 2, want: "halted" })], false);
  await sees(id, "halted");
  expect(said.some(({ code }) => code !== undefined)).toBe(false);
});

test("a start that failed is not tried again until a new one is wished for", async () => {
  const id = newId();
  host.accept([wish(id)], false);
  host.give(id, 1, payload("broken:1"));
  await sees(id, "halted");
  expect(said.at(-1)).toMatchObject({ code: "machine.start-failed", detail: "service broken exited with 1" });
  host.accept([wish(id, { generation: 2 })], false);
  await sleep(50);
  expect(said.filter(({ wantsPayload }) => wantsPayload)).toHaveLength(1);
  host.accept([wish(id, { generation: 3, incarnation: 2 })], false);
  host.give(id, 2, payload());
  await sees(id, "running", 2);
});

test("a host that was killed finds what runs and starts nothing twice", async () => {
  const id = await up();
  const { starts } = driver.running.get(id)!;
  await host.close();
  said = [];
  host = newHost();
  await host.adopt();
  host.accept([wish(id)], true);
  await sees(id, "running");
  expect(driver.running.get(id)?.starts).toBe(starts);
  expect(routes).toMatchObject([{ target: { host: "127.0.0.1" } }]);
});

test("a host that lost its record of a machine leaves its disk alone, and takes it up when it is wished for", async () => {
  const id = await up();
  await host.close();
  rmSync(join(folder, "kept"), { recursive: true });
  host = newHost();
  await host.adopt();
  expect(driver.disks.has(id)).toBe(true);
  host.accept([wish(id)], true);
  await sees(id, "starting");
  host.give(id, 1, payload());
  await sees(id, "running");
  expect(driver.running.size).toBe(1);
});

test("a host that stops halts its machines, says that they will start, and the next one starts them once", async () => {
  const id = await up();
  await host.suspend();
  expect(driver.running.size).toBe(0);
  expect(said.at(-1)).toMatchObject({ machineId: id, state: "starting", incarnation: 1 });
  host = newHost();
  await host.adopt();
  host.accept([wish(id)], true);
  await expect.poll(() => said.at(-1)?.wantsPayload).toBe(true);
  host.give(id, 1, payload());
  await sees(id, "running");
});

test("a host that was killed in the middle of a start ends what it finds of it and starts once", async () => {
  const id = newId();
  const real = driver.start.bind(driver);
  driver.start = async (...args: [string, Desired["spec"], Payload, KeptStart]) => {
    await real(...args);
    return new Promise(() => {}); // it stands still here when it is killed
  };
  host.accept([wish(id)], false);
  host.give(id, 1, payload());
  await expect.poll(() => driver.running.size).toBe(1);
  driver.start = real;
  host = newHost();
  await host.adopt();
  host.accept([wish(id)], true);
  await sees(id, "starting");
  host.give(id, 1, payload());
  await sees(id, "running");
  expect(driver.running.size).toBe(1);
});

test("a machine that control does not name is halted and keeps its disk", async () => {
  const id = await up();
  host.accept([], true); // it was wished for since the last complete batch
  host.accept([], true);
  await sees(id, "halted");
  expect(driver.disks.has(id)).toBe(true);
  expect(logged).toContain("host.kept-unknown-to-control");
});

test("a machine above what the operator allows is refused and leaves nothing", async () => {
  for (let n = 0; n < 3; n++) await up();
  const id = newId();
  host.accept([wish(id)], false);
  await sees(id, "halted");
  expect(said.at(-1)?.code).toBe("host.above-ceiling");
  expect(driver.disks.has(id)).toBe(false);
});

test("a machine that runs is not enlarged past what the operator allows: it is halted, and the reason told", async () => {
  const id = await up();
  for (let n = 0; n < 3; n++) host.accept([wish(newId(), { want: "halted" })], false);
  host.accept([wish(id, { generation: 2, incarnation: 2 })], false);
  await sees(id, "halted", 2);
  const last = said.findLast(({ machineId }) => machineId === id);
  expect(last).toMatchObject({ code: "host.above-ceiling", detail: "no room" });
  expect(driver.running.size).toBe(0);
});

test("a machine that was never here is ended when that is wished for", async () => {
  const id = newId();
  host.accept([wish(id, { generation: 7, want: "down" })], false);
  await expect.poll(() => said.at(-1)).toMatchObject({ machineId: id, state: "ended", generation: 7 });
});
