// SPDX-License-Identifier: Apache-2.0
/** Every check in the order in which it is told, and where they look on a real computer. */
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { packagedBinFolder } from "../postgres.ts";
import { CGROUPS } from "./cgroups.ts";
import type { Check, Here } from "./check.ts";
import { COMPUTER } from "./computer.ts";
import { CONTAINERS } from "./containers.ts";
import { DATABASE } from "./database.ts";
import { INSTALLATION } from "./installation.ts";
import { PACKAGES } from "./packages.ts";
import { PORTS } from "./ports.ts";
import { SANDBOXES } from "./sandboxes.ts";
import { VIRTUAL_MACHINES } from "./virtual-machines.ts";

export const CHECKS: readonly Check[] = [
  ...PACKAGES,
  ...DATABASE,
  ...SANDBOXES,
  ...CGROUPS,
  ...CONTAINERS,
  ...VIRTUAL_MACHINES,
  ...COMPUTER,
  ...PORTS,
  ...INSTALLATION,
];

const PROGRAM = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
/** Looked through after PATH, as the parts do: an ordinary user's PATH often lacks the folders of root's programs. */
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export function thisComputer(state: string): Here {
  return {
    root: "",
    path: `${process.env.PATH ?? ""}:${SYSTEM_PATH}`,
    uid: process.getuid?.() ?? -1,
    arch: process.arch,
    program: PROGRAM,
    postgres: packaged(),
    state: resolve(state),
    dockerSocket: "/var/run/docker.sock",
    ports: { api: 8787, http: 8780, https: 8743 },
    temporary: tmpdir(),
    now: new Date(),
  };
}

function packaged(): Here["postgres"] {
  try {
    return { folder: packagedBinFolder() };
  } catch (error) {
    return { missing: (error as Error).message };
  }
}
