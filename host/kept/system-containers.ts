// SPDX-License-Identifier: Apache-2.0
/** The driver of system containers of this host, and what it needs of it. What is missing its probe says; nothing keeps a host from starting. */
import { existsSync } from "node:fs";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import { AddressPool } from "#drivers/qemu/network/addresses.ts";
import { Taps } from "#drivers/qemu/network/taps.ts";
import { placeOfDriver } from "#drivers/qemu/of-host.ts";
import { openSystemContainers } from "#drivers/system-container/driver.ts";
import type { SystemContainersConfig } from "../config.ts";
import type { VirtualMachinesOf } from "./virtual-machines.ts";

/** Where Debian puts them; the first that is there. */
const RUNTIMES = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"];
/** Behind those of virtual machines; no distribution hands these out. */
const USERS = { base: 1_900_000_000, ranges: 1_000 };
const ADDRESSES = "10.230.0.0/16";

const LOOK_MS = 2_000;
const ANSWER_MS = 60_000;
const BOOT_MS = 120_000;
const SHUTDOWN_MS = 30_000;

export function openContainersOfHost(
  config: SystemContainersConfig | null,
  of: VirtualMachinesOf,
): KeptDriver[] {
  const { imagesFolder, owner, registriesInside, log } = of;
  if (config === null || imagesFolder === null) return [];
  try {
    const own = placeOfDriver("system-container", owner, config.folder);
    const networks =
      process.getuid?.() === 0
        ? { taps: new Taps(own.owner), addresses: new AddressPool(config.addresses ?? ADDRESSES) }
        : null;
    const runtime = config.runtime ?? RUNTIMES.find((path) => existsSync(path)) ?? RUNTIMES[0]!;
    const driver = openSystemContainers({
      ...{ ...own, runtime, users: config.users ?? USERS, networks, imagesFolder, registriesInside },
      ...{ answerMs: ANSWER_MS, bootMs: BOOT_MS, shutdownMs: SHUTDOWN_MS, lookMs: LOOK_MS },
      lacking: () => (process.arch === "x64" ? null : "our images are x86-64, and this computer is not"),
    });
    return [driver];
  } catch (error) {
    log("host.no-system-containers", { error: String(error) });
    return [];
  }
}
