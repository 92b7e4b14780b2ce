// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, test } from "vitest";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { type Inventory, settledExcess, takeInventory, takeRested, weighTree } from "./inventory.ts";
import { type Live, startLive } from "./live.ts";
import { close, cycles, open } from "./sessions.ts";

const CYCLES = 100;
const LIVE = 200;
/** Far above what was measured: this is about leaks and blunders, not about speed. */
const MIB_EACH_MAX = 8;

describeWith([bubblewrap, root], "an installation under load", () => {
  let live: Live;
  beforeAll(async () => {
    live = await startLive();
    // Pools, caches and resident processes come with the first sessions and stay.
    await cycles(live, 20);
  });
  afterAll(() => live[Symbol.asyncDispose]());

  test("keeps nothing of sessions that were created and destroyed", async () => {
    expect(await leftBy(live, () => cycles(live, CYCLES))).toEqual([]);
  }, 300_000);

  test("runs commands in each of 200 live sessions, light ones, and gives all of it back", async () => {
    expect(
      await leftBy(live, async (before) => {
        const weightBefore = weighTree(live.pid);
        const sessions = await open(live, LIVE);
        expect(new Set(sessions).size).toBe(LIVE);
        const during = takeInventory(live.pid, live.state);
        expect(during.cgroups - before.cgroups).toBeGreaterThanOrEqual(LIVE);
        expect((weighTree(live.pid) - weightBefore) / LIVE).toBeLessThan(MIB_EACH_MAX);
        for (const session of sessions) {
          const { value } = await live.exec(session, `echo ${session} > mine; cat mine`);
          expect(value).toMatchObject({ output: `${session}\n`, exit_code: 0 });
        }
        await close(live, sessions);
      }),
    ).toEqual([]);
  }, 300_000);
});

/**
 * What a load leaves behind. A pool that had let an idle connection go opens it anew under load and keeps it,
 * which is no leak: so what seems left is only believed when the same load, once more, leaves more of it.
 */
async function leftBy(live: Live, load: (before: Inventory) => Promise<void>): Promise<string[]> {
  const take = () => takeInventory(live.pid, live.state);
  const once = async () => {
    const before = await takeRested(take);
    await load(before);
    return settledExcess(before, take);
  };
  const left = await once();
  return left.length === 0 ? left : once();
}
