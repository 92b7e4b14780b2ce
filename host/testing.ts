// SPDX-License-Identifier: Apache-2.0
/** A host over a real link in a folder of its own, for the tests of this folder; taken down after each test. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect } from "vitest";
import type { Desired, Observation } from "#contract/link/machine.ts";
import type { FakeDriverOptions } from "#testing/fake-driver.ts";
import { hostOptions } from "#testing/host-options.ts";
import { desire, newMachineId, RecordingControl } from "#testing/recording-control.ts";
import { type HostOptions, type RunningHost, startHost } from "./assemble.ts";

export const undo: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  const faults: unknown[] = [];
  for (const step of undo.splice(0).reverse())
    try {
      await step();
    } catch (error) {
      // The steps below it still have to run: a mount left behind outlives the test run.
      faults.push(error);
    }
  expect(faults).toEqual([]);
});

export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "casemate-host-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function control(folder: string): Promise<RecordingControl> {
  const recording = await RecordingControl.listen(join(folder, "link", "control.sock"));
  undo.push(() => recording.link.close());
  return recording;
}

export async function host(
  folder: string,
  changes: Partial<HostOptions> = {},
  driver: Partial<FakeDriverOptions> = {},
): Promise<RunningHost> {
  const running = await startHost({ ...hostOptions(folder, driver), farewellMs: 500, ...changes });
  undo.push(() => running.stop());
  return running;
}

/** A machine that runs, and how to end it. */
export async function runMachine(recording: RecordingControl, hostId: string) {
  const id = newMachineId();
  const wish = desire(id);
  recording.link.sendDesired(hostId, [wish]);
  await recording.sees(id, "running");
  return {
    id,
    wish,
    async end(changes: Partial<Desired> = {}): Promise<Observation> {
      recording.link.sendDesired(hostId, [{ ...wish, generation: 2, want: "down", ...changes }]);
      return recording.sees(id, "ended");
    },
  };
}

/** The proof inside an observation. */
export const cdpOf = (observation: Observation) => JSON.parse(observation.ended!.proof);
