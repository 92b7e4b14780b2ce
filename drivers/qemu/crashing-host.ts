// SPDX-License-Identifier: Apache-2.0
/**
 * A host process for tests that is killed: starts one machine with the options it is given and says each step.
 * It stays where the record is stored when `hold` says so, and when the machine runs. Input: one JSON. With `instead`
 * it finds the machine, or removes what no host knows, and ends.
 */

import { VirtualMachines } from "./machines.ts";
import { AddressPool } from "./network/addresses.ts";
import { Taps } from "./network/taps.ts";

const { options, range, machineId, spec, ask, hold, instead } = JSON.parse(process.argv[2]!);
const say = (step: string) => process.stdout.write(`${step}\n`);
const forever = () => new Promise<void>((resolve) => setTimeout(resolve, 600_000));

const networks =
  range === undefined ? null : { taps: new Taps(options.owner), addresses: new AddressPool(range) };
const machines = new VirtualMachines({ ...options, networks });
if (instead !== undefined) {
  const said = instead === "reap" ? await machines.reap(new Set()) : await machines.find(machineId, {});
  say(JSON.stringify(said));
  if (instead === "hold") await forever();
  await machines.close();
  process.exit();
}
const { endpoint, network, guest } = await machines.start(machineId, spec, ask, {
  onRecord: async () => {
    say("record");
    if (hold) await forever();
  },
  onProgress: say,
  signal: new AbortController().signal,
});
if (network !== null) {
  const { gateway, guest: own } = network.addresses;
  const claim = { claimId: "1", entropy: "", timeMs: 0, manifest: "", authorizedKeys: [] };
  const given = { address: `${own}/30`, gateway, nameServers: [] };
  await guest.ask("claim", { ...claim, network: given }, { timeoutMs: 60_000 });
  say(JSON.stringify(endpoint));
}
say("running");
await forever();
