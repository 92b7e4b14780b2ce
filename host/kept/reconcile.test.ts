// SPDX-License-Identifier: Apache-2.0
/** What a host does with wishes about kept machines, with a driver whose machines are small HTTP servers. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Desired } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import type { KeptStart } from "#drivers/kept-driver.ts";
import type { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { KeptBench, newId, payload, wish } from "./testing.ts";

let bench: KeptBench;
let driver: FakeKeptDriver;
beforeEach(() => {
  bench = new KeptBench();
  driver = bench.driver;
});
afterEach(() => bench.close());

test("a payload that does not come is asked for again, and one of another start is not taken", async () => {
  const id = newId();
  bench.host.accept([wish(id, { incarnation: 2 })], false);
  bench.host.give(id, 1, payload());
  await expect
    .poll(() => bench.said.filter(({ wantsPayload }) => wantsPayload).length, { timeout: 5000 })
    .toBeGreaterThan(1);
  expect(driver.running.size).toBe(0);
  bench.host.give(id, 2, payload());
  await bench.sees(id, "running", 2);
});

test("a machine is routed while it runs, and named without a target while it does not", async () => {
  const id = await bench.up();
  expect(bench.routes).toMatchObject([{ machineId: id, target: { host: "127.0.0.1" } }]);
  bench.host.accept([wish(id, { generation: 2, want: "halted" })], false);
  await bench.sees(id, "halted");
  expect(bench.routes).toMatchObject([{ machineId: id, target: null }]);
  expect(driver.disks.has(id)).toBe(true);
});

test("the names of machines with keys of their own are marked so while they are not up, and renewed as they are now", async () => {
  let renew: (machineId: string, request: Uint8Array) => Promise<string> = async () => "";
  const asked: unknown[] = [];
  await bench.close();
  bench = new KeptBench({
    certify: async (domains, request) => {
      asked.push([...domains], request);
      return "chain";
    },
  });
  const anew: string[] = [];
  Object.assign(bench.driver, {
    attested: () => Promise.reject(new Error("nobody asks")),
    certifyAnew: (machineId: string) => anew.push(machineId),
    certifyBy: (certify: typeof renew) => {
      renew = certify;
    },
  });
  await bench.restart();
  const id = newId();
  bench.ids.add(id);
  bench.host.accept([wish(id)], false);
  // Before it was started.
  expect(bench.routes).toMatchObject([{ machineId: id, target: null, tlsInside: true }]);
  await bench.up(id);
  expect(bench.routes).toMatchObject([{ machineId: id, tlsInside: true }]);
  const other = wish(id, { generation: 2 });
  const names = ["x.example", "y.example"];
  const spec = { ...other.spec, kept: { ...other.spec.kept!, domains: names } };
  bench.host.accept([{ ...other, spec: { ...spec, kept: wish(id).spec.kept! } }], false);
  expect(anew).toEqual([]);
  bench.host.accept([{ ...other, spec }], false);
  // At once, and not with the next renewal.
  expect(anew).toEqual([id]);
  expect(await renew(id, Buffer.from("request"))).toBe("chain");
  expect(asked).toEqual([names, Buffer.from("request")]);
  bench.host.accept([{ ...other, spec, generation: 3, want: "halted" }], false);
  await bench.sees(id, "halted");
  expect(bench.routes).toMatchObject(names.map((domain) => ({ domain, target: null, tlsInside: true })));
});

test("a wish that is repeated or older changes nothing, and down sticks", async () => {
  const id = await bench.up();
  const { starts } = driver.running.get(id)!;
  bench.host.accept(
    [wish(id), wish(id, { generation: 3 }), wish(id, { generation: 2, want: "halted" })],
    false,
  );
  await sleep(50);
  expect(driver.running.get(id)?.starts).toBe(starts);
  bench.host.accept([wish(id, { generation: 4, want: "down" }), wish(id, { generation: 5 })], false);
  await bench.sees(id, "ended");
  expect(driver.disks.size).toBe(0);
  expect(readdirSync(join(bench.folder, "kept"))).toEqual([]);
});

test("a wish to halt ends a start that is under way", async () => {
  const id = newId();
  const real = driver.start.bind(driver);
  let begun = false;
  driver.start = async (...args: [string, Desired["spec"], Payload, KeptStart]) => {
    const { signal } = args[3];
    begun = true;
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    return real(...args);
  };
  bench.host.accept([wish(id)], false);
  bench.host.give(id, 1, payload());
  await expect.poll(() => begun).toBe(true);
  bench.host.accept([wish(id, { generation: 2, want: "halted" })], false);
  await bench.sees(id, "halted");
  expect(bench.said.some(({ code }) => code !== undefined)).toBe(false);
});

test("a start that failed is not tried again until a new one is wished for", async () => {
  const id = newId();
  bench.host.accept([wish(id)], false);
  bench.host.give(id, 1, payload("broken:1"));
  await bench.sees(id, "halted");
  expect(bench.said.at(-1)).toMatchObject({
    code: "machine.start-failed",
    detail: "service broken exited with 1",
  });
  const asked = bench.said.filter(({ wantsPayload }) => wantsPayload).length;
  bench.host.accept([wish(id, { generation: 2 })], false);
  await sleep(50);
  expect(bench.said.filter(({ wantsPayload }) => wantsPayload)).toHaveLength(asked);
  bench.host.accept([wish(id, { generation: 3, incarnation: 2 })], false);
  bench.host.give(id, 2, payload());
  await bench.sees(id, "running", 2);
});

test("a host that was killed finds what runs and starts nothing twice", async () => {
  const id = await bench.up();
  const { starts } = driver.running.get(id)!;
  bench.said = [];
  await bench.restart();
  bench.host.accept([wish(id)], true);
  await bench.sees(id, "running");
  expect(driver.running.get(id)?.starts).toBe(starts);
  expect(bench.routes).toMatchObject([{ target: { host: "127.0.0.1" } }]);
});

test("a host that lost its record of a machine leaves its disk alone, and takes it up when it is wished for", async () => {
  const id = await bench.up();
  await bench.host.close();
  rmSync(join(bench.folder, "kept"), { recursive: true });
  await bench.restart();
  expect(driver.disks.has(id)).toBe(true);
  bench.host.accept([wish(id)], true);
  await bench.sees(id, "starting");
  bench.host.give(id, 1, payload());
  await bench.sees(id, "running");
  expect(driver.running.size).toBe(1);
});

test("a host that stops halts its machines, says that they will start, and the next one starts them once", async () => {
  const id = await bench.up();
  await bench.host.suspend();
  expect(driver.running.size).toBe(0);
  expect(bench.said.at(-1)).toMatchObject({ machineId: id, state: "starting", incarnation: 1 });
  await bench.restart();
  bench.host.accept([wish(id)], true);
  await expect.poll(() => bench.said.at(-1)?.wantsPayload).toBe(true);
  bench.host.give(id, 1, payload());
  await bench.sees(id, "running");
});

test.each(["half", "whole"])(
  "of a host that was killed in the middle of a start the next one ends what is %s, and starts it, or finds it",
  async (what) => {
    const id = newId();
    const { start, find } = driver;
    driver.start = async (...args: [string, Desired["spec"], Payload, KeptStart]) => {
      await start.apply(driver, args);
      return new Promise(() => {}); // it stands still here when it is killed
    };
    bench.host.accept([wish(id)], false);
    bench.host.give(id, 1, payload());
    await expect.poll(() => driver.running.size).toBe(1);
    driver.start = start;
    let ended = 0;
    // As the port has it: half a start is ended by whoever looks for it.
    if (what === "half")
      driver.find = async (machineId) => {
        ended += 1;
        await driver.halt(machineId);
        return find.call(driver, machineId);
      };
    try {
      await bench.restart({ killed: true });
    } finally {
      driver.find = find;
    }
    // Before anything is said of it.
    expect(driver.running.size).toBe(what === "half" ? 0 : 1);
    expect(ended).toBe(what === "half" ? 1 : 0);
    const before = bench.said.length;
    bench.host.accept([wish(id)], true);
    if (what === "half") {
      await expect
        .poll(() => bench.said.at(-1))
        .toMatchObject({ state: "starting", wantsPayload: true, idle: true });
      bench.host.give(id, 1, payload());
    }
    await bench.sees(id, "running");
    if (what === "whole") expect(bench.said.slice(before).map(({ state }) => state)).toEqual(["running"]);
    expect(driver.running.size).toBe(1);
  },
);

test("a machine that control does not name is halted and keeps its disk", async () => {
  const id = await bench.up();
  bench.host.accept([], true); // it was wished for since the last complete batch
  bench.host.accept([], true);
  await bench.sees(id, "halted");
  expect(driver.disks.has(id)).toBe(true);
  expect(bench.logged).toContain("host.kept-unknown-to-control");
});

test("a machine above what the operator allows is refused and leaves nothing", async () => {
  for (let n = 0; n < 3; n++) await bench.up();
  const id = newId();
  bench.host.accept([wish(id)], false);
  await bench.sees(id, "halted");
  expect(bench.said.at(-1)?.code).toBe("host.above-ceiling");
  expect(driver.disks.has(id)).toBe(false);
});

test("a machine that runs is not enlarged past what the operator allows: it is halted, and the reason told", async () => {
  const id = await bench.up();
  for (let n = 0; n < 3; n++) bench.host.accept([wish(newId(), { want: "halted" })], false);
  bench.host.accept([wish(id, { generation: 2, incarnation: 2 })], false);
  await bench.sees(id, "halted", 2);
  const last = bench.said.findLast(({ machineId }) => machineId === id);
  expect(last).toMatchObject({ code: "host.above-ceiling", detail: "no room" });
  expect(driver.running.size).toBe(0);
});

test("a machine that was never here is ended when that is wished for", async () => {
  const id = newId();
  bench.host.accept([wish(id, { generation: 7, want: "down" })], false);
  await expect.poll(() => bench.said.at(-1)).toMatchObject({ machineId: id, state: "ended", generation: 7 });
});

test("a machine that is to go gives its names up at once, and of two that claim one the younger has it", async () => {
  const domains = ["shop.example"];
  const named = (id: string, change: Partial<Desired> = {}) => {
    const plain = wish(id, change);
    return { ...plain, spec: { ...plain.spec, kept: { ...plain.spec.kept!, domains } } };
  };
  const [older, younger] = [newId(), newId()];
  bench.host.accept([named(older)], false);
  bench.host.give(older, 1, payload());
  await bench.sees(older, "running");
  expect(bench.routes).toMatchObject([{ domain: "shop.example", machineId: older }]);
  bench.host.accept([named(younger)], false);
  bench.host.give(younger, 1, payload());
  await bench.sees(younger, "running");
  expect(bench.routes).toMatchObject([{ domain: "shop.example", machineId: younger }]);
  // Before anything of it has ended.
  bench.host.accept([named(younger, { generation: 2, want: "down" })], false);
  expect(driver.running.has(younger)).toBe(true);
  expect(bench.routes).toMatchObject([{ domain: "shop.example", machineId: older }]);
  await bench.sees(younger, "ended");
});
