// SPDX-License-Identifier: Apache-2.0
/**
 * A host for tests that runs without root: makes one machine, works in it, ends it, and prints what it
 * saw as one line of JSON.
 */
import { newMachineId, run, SPEC } from "../conformance/machine.ts";
import { SandboxDriver } from "./driver.ts";

const driver = new SandboxDriver({ folder: process.argv[2]!, owner: `test-unprivileged-${process.pid}` });
const machineId = newMachineId();
const probe = await driver.probe();
const said: Record<string, unknown> = { probe };
if (probe.ready) {
  await driver.start(machineId, SPEC, async () => {});
  const sh = (command: string, ask = {}) => run(driver, machineId, command, ask);
  said.confined = (
    await sh("id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ulimit -u")
  ).stdout;
  said.locked = await sh("mkdir shut; echo secret > shut/in; chmod 000 shut/in shut; echo x > /dev/stderr");
  said.late = await sh("(setsid sleep 600 >/dev/null 2>&1 &) ; sleep 600", { timeoutMs: 300 });
  said.left = (await sh("grep -al 'sleep.60[0]' /proc/[0-9]*/cmdline | wc -l")).stdout.trim();
  said.bomb = await sh("perl -e '$x = \"a\" x (1 << 30)'");
  async function* body() {
    yield Buffer.from("body");
  }
  await driver.putFile(machineId, "put", body(), 10);
  said.put = (await sh("cat put")).stdout;
  said.facts = await driver.stop(machineId);
}
await driver.close();
process.stdout.write(`${JSON.stringify(said)}\n`);
