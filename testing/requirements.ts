// SPDX-License-Identifier: Apache-2.0
/**
 * What a test needs of the machine. A suite whose need is not met is skipped with the reason in its
 * name, so that a skipped line in the report always says why.
 */
import { spawnSync } from "node:child_process";
import { describe } from "vitest";

export interface Requirement {
  met: boolean;
  reason: string;
}

const runs = (command: string, args: string[]) => spawnSync(command, args, { stdio: "ignore" }).status === 0;

export const root: Requirement = { met: process.getuid?.() === 0, reason: "needs root" };
export const bubblewrap: Requirement = {
  met: runs("bwrap", ["--version"]),
  reason: "needs bubblewrap (apt-get install bubblewrap)",
};

/** Programs that Debian has in these packages. */
export function programs(names: readonly string[], packages: string): Requirement {
  const met = names.every((name) => runs("sh", ["-c", `command -v ${name}`]));
  return { met, reason: `needs ${names.join(", ")} (apt-get install ${packages})` };
}

/** `describe` that skips, and says why, when a requirement is not met. */
export function describeWith(needs: Requirement[], name: string, body: () => void): void {
  const missing = needs.filter((need) => !need.met).map((need) => need.reason);
  if (missing.length === 0) describe(name, body);
  else describe.skip(`${name} [skipped: ${missing.join(", ")}]`, body);
}
