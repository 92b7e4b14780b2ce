// SPDX-License-Identifier: Apache-2.0
/** What a host says of a machine that changes by itself: its public service, its parts, its engine. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Observation } from "#contract/link/machine.ts";
import { DriverFault } from "#drivers/driver.ts";
import { KeptBench, newId, payload, wish } from "./testing.ts";

let bench: KeptBench;
beforeEach(() => {
  bench = new KeptBench();
});
afterEach(() => bench.close());

/** The states that control was told, without repeats. */
const story = (machineId: string): Observation["state"][] =>
  bench.said
    .filter((one) => one.machineId === machineId)
    .map(({ state }) => state)
    .filter((state, at, all) => state !== all[at - 1]);
const warnings = () => {
  const seen = new Map(bench.said.flatMap(({ notices = [] }) => notices).map((each) => [each.id, each]));
  return [...seen.values()].filter(({ kind }) => kind === "warning").map(({ message }) => message);
};

test("a machine whose public service is down is starting and not running, and has no route until it is back", async () => {
  const id = await bench.up();
  await bench.driver.fall(id, "api exited with code 1 and is started again");
  expect(bench.routes).toMatchObject([{ target: null }]);
  bench.pass(1_500);
  await bench.sees(id, "starting");
  expect(bench.said.at(-1)).toMatchObject({
    restarted: true,
    detail: "api exited with code 1 and is started again",
  });
  // Whatever else of it runs still costs.
  expect(bench.said.at(-1)).not.toHaveProperty("idle");
  await bench.driver.rise(id);
  expect(bench.routes[0]?.target?.port).toBe(bench.portOf(id));
  bench.pass(5_000);
  await bench.sees(id, "running");
  expect(story(id)).toEqual(["starting", "running", "starting", "running"]);
});

test("a first fall that is over at once is a warning and no change", async () => {
  const id = await bench.up();
  await bench.driver.fall(id, "api exited with code 1 and is started again");
  await bench.driver.rise(id);
  await expect.poll(warnings).toEqual(["api exited with code 1 and is started again"]);
  expect(story(id)).toEqual(["starting", "running"]);
});

test("a service that falls a hundred times in a minute and a half is a handful of changes", async () => {
  const id = await bench.up();
  const before = story(id).length;
  for (let fall = 0; fall < 100; fall++) {
    await bench.driver.fall(id, "api exited with code 1 and is started again");
    bench.pass(300);
    await bench.turn();
    await bench.driver.rise(id);
    bench.pass(600);
    await bench.turn();
  }
  expect(story(id).length - before).toBeLessThan(10);
  expect(story(id).at(-1)).toBe("starting");
  expect(warnings().length).toBeLessThan(15);
  bench.pass(61_000);
  await bench.sees(id, "running");
});

test("another service that dies is a warning, once, until control has it, and at a bounded rate", async () => {
  const id = await bench.up();
  bench.driver.lose(id, "db exited with code 7");
  await expect.poll(warnings).toEqual(["db exited with code 7"]);
  expect(story(id)).toEqual(["starting", "running"]);
  const first = bench.said.at(-1)!;
  bench.host.acknowledged(first);
  bench.driver.lose(id, "db exited with code 8");
  await expect
    .poll(() => bench.said.at(-1)?.notices?.map(({ message }) => message))
    .toEqual(["db exited with code 8"]);
  for (let many = 0; many < 500; many++) bench.driver.lose(id, `db exited with code 9, ${many}`);
  await bench.turn();
  expect(warnings().length).toBeLessThan(15);
  bench.pass(120_000);
  bench.driver.lose(id, "db exited with code 10");
  await expect.poll(() => warnings().at(-1)).toMatch(/^db exited with code 10 \(and \d+ more warnings/);
});

test("a machine whose public service is gone for good is ended whole, with the reason", async () => {
  const id = await bench.up();
  bench.driver.end(id, "api exited with code 3");
  await bench.sees(id, "halted");
  expect(bench.said.at(-1)).toMatchObject({ code: "machine.exited", detail: "api exited with code 3" });
  expect(bench.driver.running.has(id)).toBe(false);
  expect(bench.driver.disks.has(id)).toBe(true);
});

test("a change that comes in the moment of a start is not lost", async () => {
  const id = await bench.up();
  const real = bench.driver.start.bind(bench.driver);
  bench.driver.start = async (...args) => {
    const started = await real(...args);
    setImmediate(() => bench.driver.end(id, "api exited with code 3"));
    return started;
  };
  bench.host.accept([wish(id, { generation: 2, incarnation: 2 })], false);
  bench.host.give(id, 2, payload());
  await bench.sees(id, "halted", 2);
  expect(bench.said.at(-1)).toMatchObject({ detail: "api exited with code 3" });
});

test("an engine that dies ends no wish: its machines are started again when it is back, with their disks", async () => {
  const id = await bench.up();
  await bench.driver.crash();
  await bench.turn();
  // Nothing is known of the machine, so nothing is said of it.
  expect(story(id)).toEqual(["starting", "running"]);
  bench.driver.back([id]);
  await bench.sees(id, "starting");
  await expect.poll(() => bench.said.at(-1)?.wantsPayload).toBe(true);
  expect(bench.said.at(-1)).toMatchObject({ idle: true, restarted: true, incarnation: 1 });
  bench.host.give(id, 1, payload());
  await bench.sees(id, "running");
  expect(bench.said.some(({ code }) => code !== undefined)).toBe(false);
  expect(bench.driver.disks.has(id)).toBe(true);
});

test("a start that meets an engine that is away waits for it, with its payload, and says why once", async () => {
  const id = newId();
  bench.host.accept([wish(id)], false);
  bench.ids.add(id);
  await bench.sees(id, "starting");
  bench.driver.away = true;
  bench.host.give(id, 1, payload());
  await expect.poll(warnings).toEqual(["the host's engine does not answer; it is started when it does"]);
  const times = bench.said.length;
  bench.pass(20_000);
  await bench.turn();
  expect(bench.said.length).toBe(times);
  bench.driver.away = false;
  await expect.poll(() => bench.said.at(-1)?.state, { timeout: 5_000 }).toBe("running");
  expect(bench.said.filter(({ wantsPayload }) => wantsPayload)).toHaveLength(1);
});

test("a start in the middle of which the engine goes is not a fault, and is tried again with the same payload", async () => {
  const real = bench.driver.start.bind(bench.driver);
  let tries = 0;
  bench.driver.start = async (...args) => {
    if (++tries === 1) throw new DriverFault("host.not-ready", "the engine does not answer");
    return real(...args);
  };
  const id = newId();
  bench.host.accept([wish(id)], false);
  await bench.sees(id, "starting");
  const asked = bench.said.filter(({ wantsPayload }) => wantsPayload).length;
  bench.host.give(id, 1, payload());
  await expect.poll(() => bench.said.at(-1)?.state, { timeout: 5_000 }).toBe("running");
  expect(bench.said.some(({ code }) => code !== undefined)).toBe(false);
  expect(bench.said.filter(({ wantsPayload }) => wantsPayload)).toHaveLength(asked);
});

test("a host that starts while the engine is away finds its machines when it is back, and starts none twice", async () => {
  const id = await bench.up();
  const { starts } = bench.driver.running.get(id)!;
  bench.driver.away = true;
  await bench.restart();
  bench.host.accept([wish(id)], true);
  await bench.sees(id, "starting");
  expect(bench.routes).toMatchObject([{ target: null }]);
  bench.driver.away = false;
  await expect.poll(() => bench.said.at(-1)?.state, { timeout: 5_000 }).toBe("running");
  expect(bench.driver.running.get(id)?.starts).toBe(starts);
  expect(bench.routes).toMatchObject([{ target: { host: "127.0.0.1" } }]);
});

test("of images more than a workload can have services none are kept, whoever names them", async () => {
  const id = await bench.up();
  bench.host.accept([wish(id, { generation: 2, incarnation: 2 })], true);
  const services = Object.fromEntries(
    Array.from({ length: 300 }, (_, at) => [`s${at}`, { image: "caddy:2" }]),
  );
  bench.host.give(id, 2, { ...payload(), compose: JSON.stringify({ services }) });
  await bench.sees(id, "running", 2);
  const entry = JSON.parse(readFileSync(join(bench.folder, "kept", `${id}.kept`), "utf8"));
  expect(Object.keys(entry.images)).toHaveLength(256);
});

test("an image is told of once for each thing that its name comes to mean", async () => {
  const id = await bench.up();
  const images = () =>
    new Set(
      bench.said
        .flatMap(({ notices = [] }) => notices)
        .flatMap(({ kind, message }) => (kind === "image" ? [message] : [])),
    );
  expect([...images()]).toEqual([`service api: caddy:2 is caddy@sha256:${"0".repeat(64)}`]);
  await bench.restart();
  bench.host.accept([wish(id, { generation: 2, incarnation: 2 })], true);
  bench.host.give(id, 2, payload());
  await bench.sees(id, "running", 2);
  expect(bench.said.filter(({ incarnation }) => incarnation === 2).some(({ notices }) => notices)).toBe(
    false,
  );
  bench.host.accept([wish(id, { generation: 3, incarnation: 3 })], true);
  bench.host.give(id, 3, payload("caddy:3"));
  await bench.sees(id, "running", 3);
  expect(images().size).toBe(2);
});
