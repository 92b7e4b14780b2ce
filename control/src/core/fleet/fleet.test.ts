// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from "vitest";
import type { Desired, HostFacts } from "#contract/link/machine.ts";
import { several } from "#link/several.ts";
import { openFleet } from "./fleet.ts";

const facts: HostFacts = {
  ...{ hostId: `host_${"1".repeat(32)}`, version: "0.1.0", bootId: "b", cpus: 1, memoryMiB: 1 },
  ...{ drivers: [], issuers: [], engines: {} },
};

/** The database answers when it is told to. */
function slow() {
  const answers: ((desired: Desired[]) => void)[] = [];
  const told: boolean[] = [];
  const link = {
    ...several([]),
    sendDesired: (_host: string, _batch: Desired[], complete?: boolean) => told.push(complete === true),
  };
  const fleet = openFleet(() => link);
  fleet.onJoin(() => new Promise((resolve) => answers.push(resolve)));
  return { fleet, answers, told };
}

describe("a host that goes while it is taken in", () => {
  it("is not held, and is told everything when it comes again", async () => {
    const { fleet, answers, told } = slow();
    const first = fleet.joined(facts);
    await expect.poll(() => answers.length).toBe(1);
    fleet.gone(facts.hostId);
    answers[0]!([]);
    await first;
    expect([fleet.held(), told]).toEqual([[], []]);
    const second = fleet.joined(facts);
    await expect.poll(() => answers.length).toBe(2);
    answers[1]!([]);
    await second;
    expect([fleet.held(), told]).toEqual([[facts.hostId], [true]]);
  });

  it("is not held either when it goes before it is remembered", async () => {
    const { fleet, answers } = slow();
    const remembered = Promise.withResolvers<void>();
    const joining = fleet.joined(facts, () => remembered.promise);
    fleet.gone(facts.hostId);
    remembered.resolve();
    await joining;
    expect([answers.length, fleet.held()]).toEqual([0, []]);
  });
});
