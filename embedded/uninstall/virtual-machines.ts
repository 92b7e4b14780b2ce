// SPDX-License-Identifier: Apache-2.0
/** The virtual machines and system containers of an installation: found by their marks, whatever became of the files, and taken away with their networks. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { MACHINE_ID } from "#drivers/docker/marks.ts";
import { VirtualMachines, type VmOptions } from "#drivers/qemu/machines.ts";
import { AddressPool } from "#drivers/qemu/network/addresses.ts";
import { restoreForwarding, undoForwarding } from "#drivers/qemu/network/forwarding.ts";
import { forgetSshRedirect } from "#drivers/qemu/network/ssh-redirect.ts";
import { Taps } from "#drivers/qemu/network/taps.ts";
import { GUEST_ISOLATIONS, type GuestIsolation, placeOfDriver } from "#drivers/qemu/of-host.ts";
import { listMarked } from "#drivers/qemu/processes.ts";
import { findCgroups } from "#drivers/sandbox/cgroups.ts";
import { SystemContainers } from "#drivers/system-container/containers.ts";
import type { Installation } from "./installation.ts";

/** Nothing is started, so what it would be started with is not asked for. */
const UNUSED: Omit<VmOptions, "folder" | "owner" | "networks"> = {
  ...{ program: "", tpmProgram: "", tpmSetupProgram: null, accelerator: "tcg", seccomp: true, uids: null },
  ...{ answerMs: 5_000, bootMs: 5_000, shutdownMs: 30_000 },
};

/** Another installation of this computer writes its own again when it starts. */
export { forgetSshRedirect };

type Of = Pick<Installation, "vms" | "owner">;

/** A look makes nothing: what it made, the next would find. */
export async function findVirtualMachines({ vms, owner }: Of): Promise<string[]> {
  const found = await Promise.all(
    GUEST_ISOLATIONS.map(async (isolation) => {
      const own = placeOfDriver(isolation, owner, vms);
      const taps = new Taps(own.owner);
      return [
        ...listMarked(own.owner),
        ...((await taps.missing(wireOf(isolation))) === null ? await taps.list() : []),
        ...["vms", "containers", "machines"].flatMap((name) => namesIn(join(own.folder, name))),
      ];
    }),
  );
  return [...new Set(found.flat())].filter((id) => MACHINE_ID.test(id));
}

/** With their disks unless the data is kept. */
export async function removeVirtualMachines(of: Of, keepData: boolean): Promise<void> {
  if ((await findVirtualMachines(of)).length === 0) return;
  for (const isolation of GUEST_ISOLATIONS) {
    const own = placeOfDriver(isolation, of.owner, of.vms);
    const taps = new Taps(own.owner);
    const has = (await taps.missing(wireOf(isolation))) === null;
    const networks = has ? { taps, addresses: new AddressPool("127.0.0.0/24") } : null;
    const options = { ...UNUSED, ...own, networks };
    const machines =
      isolation === "system-container"
        ? new SystemContainers({ ...options, runtime: "", users: { base: 0, ranges: 1 } })
        : new VirtualMachines(options);
    try {
      for (const id of await machines.list())
        if (keepData) await machines.halt(id, null);
        else await machines.remove(id, null);
    } finally {
      await machines.close();
      findCgroups(own.owner).close();
    }
  }
}

const wireOf = (isolation: GuestIsolation) => (isolation === "system-container" ? "wire" : "tap");

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => name.split(".")[0]!);
  } catch {
    return [];
  }
}

/** What machines needed of the computer, if it was us who turned it on; in words, null when there is nothing to say. */
export async function putForwardingBack(): Promise<string | null> {
  const back = await restoreForwarding();
  if (back === null) return null;
  if (back.restored) return "turned off again: net.ipv4.ip_forward, which casemate had turned on";
  return `left: net.ipv4.ip_forward, which casemate had turned on, since ${back.why}; to undo it: ${undoForwarding}`;
}
