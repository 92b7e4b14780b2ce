// SPDX-License-Identifier: Apache-2.0
/** What tests of system containers need of this computer. */
import { existsSync } from "node:fs";
import { programs, type Requirement, root } from "#testing/requirements.ts";

export const RUNTIME = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"].find((path) => existsSync(path));

const tools = programs(["ip", "nft", "nsenter", "mount", "perl"], "iproute2 nftables");

export const systemContainers: Requirement = {
  met: root.met && process.arch === "x64" && RUNTIME !== undefined && tools.met,
  reason: `needs root, x86-64, a container runtime (apt-get install runc) and ${tools.reason.slice(6)}`,
};
