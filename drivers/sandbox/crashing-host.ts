// SPDX-License-Identifier: Apache-2.0
/**
 * A host for tests that is killed: starts one machine in a driver with the options it is given, prints
 * every record as a line, and then stays as it is. `hold` says at which record it stops going on. With
 * spares the machine is one that got a spare.
 */
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { SandboxDriver, type SandboxOptions } from "./driver.ts";

const { options, hold } = JSON.parse(process.argv[2]!) as { options: SandboxOptions; hold: number };
const driver = new SandboxDriver(options);
const machineId = newMachineId();
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);
const forever = () => new Promise<void>((resolve) => setTimeout(resolve, 600_000));

const spare = async () => {
  while (driver.spares() === 0) await new Promise((resolve) => setTimeout(resolve, 20));
};
if (options.spares) {
  const first = newMachineId();
  await driver.start(first, SPEC, async () => {});
  await driver.stop(first);
  await spare();
}

let records = 0;
await driver.start(machineId, SPEC, async (record) => {
  say({ machineId, record });
  if (++records === hold) await forever();
});
await run(driver, machineId, "echo secret > secret; (setsid sleep 600 >/dev/null 2>&1 &)");
if (options.spares) await spare();
say({ running: true });
await forever();
