// SPDX-License-Identifier: Apache-2.0
/**
 * A host process for tests that is killed: starts one machine with the options it is given and says each step.
 * It stays where the record is stored when `hold` says so, and when the machine runs. Input: one JSON.
 */
import { VirtualMachines } from "./machines.ts";

const { options, machineId, spec, ask, hold } = JSON.parse(process.argv[2]!);
const say = (step: string) => process.stdout.write(`${step}\n`);
const forever = () => new Promise<void>((resolve) => setTimeout(resolve, 600_000));

const machines = new VirtualMachines(options);
await machines.start(machineId, spec, ask, {
  onRecord: async () => {
    say("record");
    if (hold) await forever();
  },
  onProgress: say,
  signal: new AbortController().signal,
});
say("running");
await forever();
