// SPDX-License-Identifier: Apache-2.0
/** Counts that outlive the kernel's. What the kernel has counted is in a map here; the kernel itself is in egress.test.ts. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { newMachineId } from "../../conformance/machine.ts";
import { Meters } from "./meters.ts";
import type { Metered } from "./taps.ts";

const NONE = { sentBytes: 0, cut: false };
let folder: string;
let kernel: Map<string, Metered>;
let nowMs: number;
const open: Meters[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-meters-"));
  kernel = new Map();
  nowMs = 1_000_000;
});
afterEach(() => {
  for (const each of open.splice(0)) each.close();
  rmSync(folder, { recursive: true, force: true });
});

/** As a new process finds it. */
function meters(everyMs = 1e8, taps: { metered(): Promise<Map<string, Metered>> } | null = null): Meters {
  const own = taps ?? { metered: async () => new Map(kernel) };
  const made = new Meters({ folder, everyMs, taps: () => own, now: () => nowMs });
  open.push(made);
  return made;
}
const told = async (from: Meters, id: string) =>
  (await from.readings()).find(({ machineId }) => machineId === id);

test("a start goes on from the largest that anybody knows: the kernel, the disk, or control", async () => {
  const id = newMachineId();
  const first = meters();
  expect(first.begin(id, 100, NONE)).toEqual({ limitBytes: 100, sentBytes: 0, cut: false });
  kernel.set(id, { sentBytes: 40, cut: false });
  await first.settle(id);
  kernel.clear();
  expect(meters().begin(id, 100, NONE)).toMatchObject({ sentBytes: 40, cut: false });
  expect(meters().begin(id, 100, { sentBytes: 70, cut: false })).toMatchObject({ sentBytes: 70, cut: false });
  expect(meters().begin(id, 100, { sentBytes: 10, cut: true })).toMatchObject({ sentBytes: 70, cut: true });
  expect(meters().begin(id, 100, NONE)).toMatchObject({ sentBytes: 70, cut: true });
});

test("whatever is said in whatever order, over restarts and a clock that steps, no count shrinks, no cut ends and none changes its time", async () => {
  const step = fc.record({
    sentBytes: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    cut: fc.boolean(),
    restart: fc.boolean(),
    clockMs: fc.integer({ min: -1e11, max: 1e11 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const id = newMachineId();
      let one = meters();
      let last = { sentBytes: 0, cutAtMs: null as number | null };
      one.begin(id, 1, NONE);
      for (const { sentBytes, cut, restart, clockMs } of steps) {
        nowMs += clockMs;
        kernel.set(id, { sentBytes, cut });
        if (restart) one = meters();
        const now = (await told(one, id))!;
        expect(now.sentBytes).toBe(Math.max(last.sentBytes, sentBytes));
        expect(now.cutAtMs).toBe(last.cutAtMs ?? (cut ? nowMs : null));
        last = now;
      }
      one.remove(id);
    }),
    { numRuns: 40 },
  );
});

test.each(["", "{", '{"v":1}', '{"v":1,"sentBytes":-5,"cutAtMs":null}', "null"])(
  "a count that cannot be read (%j) is one that is over its limit",
  async (text) => {
    const id = newMachineId();
    writeFileSync(join(folder, `${id}.json`), text);
    expect(meters().begin(id, 100, NONE)).toMatchObject({ cut: true });
  },
);

test("a count that is gone of a machine that ran is one that is over its limit", () => {
  const id = newMachineId();
  meters().begin(id, 100, NONE);
  rmSync(join(folder, `${id}.json`));
  expect(meters().resume(id, 100)).toMatchObject({ cut: true });
});

test("what is counted while a look is under way is not missed by whoever is about to take the rules away", async () => {
  const id = newMachineId();
  const slow = Promise.withResolvers<Map<string, Metered>>();
  let looks = 0;
  const taps = { metered: () => (looks++ === 0 ? slow.promise : Promise.resolve(new Map(kernel))) };
  const one = meters(1e8, taps);
  one.begin(id, 100, NONE);
  const early = one.readings();
  kernel.set(id, { sentBytes: 90, cut: false });
  const settled = one.settle(id);
  slow.resolve(new Map([[id, { sentBytes: 5, cut: false }]]));
  await Promise.all([early, settled]);
  expect(meters().resume(id, 100)).toMatchObject({ sentBytes: 90, cut: false });
});

test("counts reach the disk by themselves while machines run", async () => {
  const id = newMachineId();
  meters(20).begin(id, 100, NONE);
  kernel.set(id, { sentBytes: 33, cut: false });
  await expect.poll(() => meters().resume(id, 100).sentBytes).toBe(33);
});

test("the last count of a machine that is removed is told for ten minutes, and nothing of it stays on disk", async () => {
  const id = newMachineId();
  const one = meters();
  one.begin(id, 100, NONE);
  kernel.set(id, { sentBytes: 20, cut: true });
  await one.settle(id);
  kernel.clear();
  one.remove(id);
  expect(readdirSync(folder)).toEqual([]);
  expect(one.list()).toEqual([]);
  expect(await told(one, id)).toMatchObject({ sentBytes: 20, cutAtMs: nowMs });
  nowMs += 600_001;
  expect(await told(one, id)).toBeUndefined();
});

test("a kernel that cannot be asked takes nobody's count away, and no rules are taken away on it", async () => {
  const id = newMachineId();
  const one = meters(1e8, { metered: () => Promise.reject(new Error("nft failed")) });
  one.begin(id, 100, { sentBytes: 8, cut: false });
  await expect(one.settle(id)).rejects.toThrow("nft failed");
  expect(meters().resume(id, 100)).toMatchObject({ sentBytes: 8 });
});
