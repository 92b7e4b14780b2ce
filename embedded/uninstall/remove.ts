// SPDX-License-Identifier: Apache-2.0
/**
 * Takes an installation off this computer, from the outside in: processes, what they were held in,
 * machines of the engine, and only then the files by which all of it would be found again. Every step
 * may have been done before; a removal that was interrupted is made again from the start.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "#confine/spawn.ts";
import { DockerDriver } from "#drivers/docker/driver.ts";
import { Firewall } from "#drivers/docker/firewall.ts";
import { MACHINE_ID } from "#drivers/docker/marks.ts";
import { mustRun } from "#drivers/docker/program.ts";
import { removeFolders } from "#drivers/sandbox/start.ts";
import type { Installation } from "./installation.ts";
import { endAll } from "./processes.ts";
import { cgroupsOf, partsOf, type Survey, sandboxedOf } from "./survey.ts";

const GRACE_MS = 5_000;
const END_MS = 20_000;
const UMOUNT_MS = 20_000;

/** What a backup holds, and the notes on workloads that are halted. */
const DATA = [
  "postgres",
  "control",
  "blobs",
  "host",
  "signer",
  "docker",
  "vms",
  "config",
  "admin.key",
  "keys",
  "version",
];
const REST = [
  "run",
  "images",
  "logs",
  "sandboxes",
  "reserve",
  "reserve.new",
  "running.json",
  "admin.key.new",
  "version.new",
];

export async function removeProcesses(installation: Installation): Promise<void> {
  // First those that would start others again.
  await endAll(() => partsOf(installation), { graceMs: GRACE_MS, forMs: END_MS });
  await endAll(() => sandboxedOf(installation.owner), { graceMs: 0, forMs: END_MS });
  // Innermost first: a folder goes when no other is below it.
  await removeFolders(cgroupsOf(installation.owner).reverse(), END_MS);
}

/**
 * Containers, networks and rules; volumes too unless the data is kept. Without an engine nothing can be
 * asked to go, unless Docker itself is off this computer: then only the rules are left of it.
 */
export async function removeMachines(
  installation: Installation,
  found: Survey,
  keepData: boolean,
): Promise<void> {
  const { docker, owner } = installation;
  if (!needsEngine(found)) return;
  if (found.containers === null) {
    const firewall = new Firewall(owner);
    for (const comment of found.rules) await firewall.release(comment.split(":").at(-1)!);
    return;
  }
  await new Firewall(owner).holdEngine(null);
  const driver = new DockerDriver({ ...docker, owner });
  try {
    if (!keepData) {
      await driver.reap(new Set());
      return;
    }
    const ids = [
      ...found.machines,
      ...found.containers.map(({ machineId }) => machineId),
      ...found.rules.map((comment) => comment.split(":").at(-1)!).filter((id) => MACHINE_ID.test(id)),
    ];
    for (const id of new Set(ids)) await driver.halt(id, null);
  } finally {
    await driver.close();
  }
}

export const needsEngine = ({ containers, networks, volumes, rules, machines }: Survey): boolean =>
  [containers ?? [], networks, volumes, rules, machines].some((list) => list.length > 0);

/** True when machines may be left in an engine that is only not running. */
export const engineIsAway = (found: Survey): boolean =>
  found.containers === null && needsEngine(found) && findProgram("dockerd") !== null;

export async function removeMounts(found: Pick<Survey, "mounts">): Promise<void> {
  for (const target of found.mounts) await mustRun(["umount", "--lazy", target], { timeoutMs: UMOUNT_MS });
}

/** Answers what it found in the state folder that is not ours, and left. */
export function removeFiles({ state, runFolder }: Installation, keepData: boolean): string[] {
  rmSync(runFolder, { recursive: true, force: true });
  if (!existsSync(state)) return [];
  // What tells a state folder from another comes last.
  for (const name of [...REST, ...(keepData ? [] : DATA), "lock"])
    rmSync(join(state, name), { recursive: true, force: true });
  const left = readdirSync(state);
  if (left.length === 0) {
    try {
      rmdirSync(state);
    } catch {
      return ["the folder itself, which is a mount point"];
    }
  }
  return keepData ? left.filter((name) => !DATA.includes(name)) : left;
}
