// SPDX-License-Identifier: Apache-2.0
/** When the last that is left of a machine is removed, and when it must not be. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Orphans } from "./orphans.ts";
import { KeptBench, newId, wish } from "./testing.ts";

const GRACE_MS = 10_000;

let bench: KeptBench;
let orphans: Orphans;
let nowMs: number;
const removed: string[] = [];

function begin(): void {
  orphans = new Orphans({
    drivers: [bench.driver],
    isRecorded: (id) => bench.host.isRecorded(id),
    graceMs: GRACE_MS,
    clock: () => nowMs,
    log: (event, { machineId }) => {
      if (event === "host.kept-orphan-removed") removed.push(String(machineId));
    },
  });
}
beforeEach(() => {
  nowMs = 0;
  removed.length = 0;
  bench = new KeptBench({ onNamed: (ids, complete) => orphans.named(ids, complete) });
  begin();
});
afterEach(async () => {
  await orphans.close();
  await bench.close();
});

/** Of which only the engine knows. */
function stray(): string {
  const id = newId();
  bench.driver.disks.add(id);
  return id;
}

async function pass(ms: number): Promise<void> {
  nowMs += ms;
  await orphans.look();
}

test("what nobody knows is removed after the grace, and nothing else is", async () => {
  const [mine, lost] = [await bench.up(), stray()];
  bench.host.accept([wish(mine)], true);
  await pass(0);
  await pass(GRACE_MS - 1);
  expect(removed).toEqual([]);
  await pass(1);
  expect(removed).toEqual([lost]);
  expect([...bench.driver.disks]).toEqual([mine]);
});

test("nothing is removed before control has named everything, however long that takes", async () => {
  const lost = stray();
  await pass(GRACE_MS * 100);
  await pass(GRACE_MS * 100);
  bench.host.accept([wish(newId(), { want: "halted" })], false);
  await pass(GRACE_MS * 100);
  await pass(GRACE_MS * 100);
  expect(bench.driver.disks.has(lost)).toBe(true);
});

test("what control names is kept, also while the host refuses it, and what it names later too", async () => {
  for (let n = 0; n < 3; n++) await bench.up();
  const [named, later] = [stray(), stray()];
  bench.host.accept([wish(named)], true);
  await pass(0);
  bench.host.accept([wish(later)], false);
  await pass(GRACE_MS * 2);
  await pass(GRACE_MS * 2);
  expect([named, later].map((id) => bench.host.isRecorded(id))).toEqual([false, false]);
  expect(removed).toEqual([]);
});

test("what the host has a record of is kept, also a record that cannot be read, and one that control lost", async () => {
  const forgotten = await bench.up();
  const torn = stray();
  writeFileSync(join(bench.folder, "kept", `${torn}.kept`), "{");
  await bench.restart();
  bench.host.accept([], true);
  await pass(0);
  await pass(GRACE_MS * 2);
  expect(removed).toEqual([]);
  expect(bench.driver.disks).toEqual(new Set([forgotten, torn]));
});

test("a look at which it is not there, and a new process, begin the grace anew", async () => {
  const lost = stray();
  bench.host.accept([], true);
  await pass(0);
  bench.driver.disks.delete(lost);
  await pass(GRACE_MS / 2);
  bench.driver.disks.add(lost);
  await pass(GRACE_MS / 2);
  expect(removed).toEqual([]);
  await orphans.close();
  begin();
  bench.host.accept([], true);
  await pass(GRACE_MS);
  expect(removed).toEqual([]);
});

test("an engine that is away is asked again, and its absence removes nothing", async () => {
  const lost = stray();
  bench.host.accept([], true);
  await pass(0);
  bench.driver.away = true;
  await pass(GRACE_MS);
  bench.driver.away = false;
  await pass(1);
  await pass(GRACE_MS - 2);
  expect(removed).toEqual([]);
  await pass(2);
  expect(removed).toEqual([lost]);
});
