// SPDX-License-Identifier: Apache-2.0
/**
 * A host process for tests that is killed: the kept half of a host with its virtual machines, in a network namespace that its starter
 * made. It is wished and told by lines of JSON, and says what it reports. It gives a machine nothing before `go`, and then
 * everything but what it is to hold: so it can be killed at any stage of a start, and what the next one found can be looked at.
 */
import { createInterface } from "node:readline";
import type { Desired } from "#contract/link/machine.ts";
import type { LaunchPayload } from "#contract/link/payload.ts";
import { QemuDriver, type QemuOptions } from "#drivers/qemu/driver.ts";
import { AddressPool } from "#drivers/qemu/network/addresses.ts";
import { Taps } from "#drivers/qemu/network/taps.ts";
import { openAuthority } from "#host/ingress/authority.ts";
import { certifyRequest } from "#host/ingress/certify.ts";
import { KeptReconciler } from "#host/kept/reconcile.ts";
import { KeptStore } from "#host/kept/store.ts";

export interface Go {
  /** What is waited for for ever: the certificate of a guest that was claimed, or the secrets of one that has it. */
  hold: "certificate" | "secrets" | null;
  /** Handed to the guest (small-guest.ts). */
  box: string;
}

export interface KeptVmHostInput {
  options: QemuOptions;
  folder: string;
  range: string;
  payload: LaunchPayload;
}

const { options, folder, range, payload } = JSON.parse(process.argv[2]!) as KeptVmHostInput;
const say = (what: object) => process.stdout.write(`${JSON.stringify(what)}\n`);
const forever = () => new Promise<never>(() => {});

let go: Go | null = null;
const { authority } = await openAuthority(`${folder}/authority`, new Date());
const driver = new QemuDriver({
  ...options,
  networks: { taps: new Taps(options.owner), addresses: new AddressPool(range) },
  lacking: () => null,
});
const reconciler = new KeptReconciler({
  store: new KeptStore(`${folder}/kept`),
  drivers: [driver],
  report: (observation) => {
    say({ report: observation });
    const { machineId, incarnation = 1, wantsPayload, wantsSecrets } = observation;
    if (go === null) return;
    if (wantsPayload) reconciler.give(machineId, incarnation, payload);
    if (wantsSecrets && go.hold !== "secrets")
      reconciler.find(machineId)?.machine.giveSecrets(incarnation, Buffer.from(go.box));
  },
  certify: async (domains, request) => {
    if (go?.hold === "certificate") {
      say({ claimed: true });
      return forever();
    }
    return (await certifyRequest(authority, domains, request, new Date())).certificatePem;
  },
  onRoutes: () => {},
  refusal: () => undefined,
  log: (event, more) => say({ log: event, ...more }),
});
await reconciler.adopt();
say({ adopted: true });
for await (const line of createInterface({ input: process.stdin })) {
  const [name, given] = JSON.parse(line) as ["wish", Desired] | ["go", Go] | ["reap"];
  if (name === "wish") reconciler.accept([given], true);
  else if (name === "go") go = given;
  else say({ reaped: await driver.reap(new Set()) });
}
