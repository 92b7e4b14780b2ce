// SPDX-License-Identifier: Apache-2.0
/**
 * Ends: of what runs, and of the machine. Both work from names alone, so they do the same after a kill,
 * twice, or for a machine that never was.
 */
import type Docker from "dockerode";
import { type CgroupKind, listCgroups, removeCgroups } from "./cgroup-parent.ts";
import { endLeftovers } from "./compose.ts";
import { listMachines, removeContainers, removeVolumes, stopContainers } from "./engine.ts";
import { filePlaces, removeFiles } from "./files.ts";
import type { Firewall } from "./firewall.ts";
import { MACHINE_ID } from "./marks.ts";
import type { Notes } from "./notes.ts";

/** What every step of a machine's life is done with. */
export interface Place {
  engine: Docker;
  owner: string;
  folder: string;
  /** The folder's own number (installation.ts). */
  installation: string;
  kind: CgroupKind;
  /** The engine can hold a container's own layer to a size. */
  layerQuota: boolean;
  notes: Notes;
  firewall: Firewall;
}

/** Volumes, images and the note stay; the rules too, when a start is to replace them in a moment. */
export async function haltMachine(
  place: Place,
  machineId: string,
  rules: "no rules" | "rules follow" = "no rules",
): Promise<void> {
  const { engine, owner, notes } = place;
  await endLeftovers(owner, machineId);
  await stopContainers(engine, owner, machineId);
  await dismantle(place, machineId, rules === "no rules");
  const note = notes.read(machineId);
  if (note !== null && note.phase !== "halted") notes.write(machineId, { ...note, phase: "halted" });
}

/** Nothing stays. Its containers are not asked to end: there is nothing left that they could save. */
export async function removeMachine(place: Place, machineId: string): Promise<void> {
  const { engine, owner, notes } = place;
  await endLeftovers(owner, machineId);
  await dismantle(place, machineId, true);
  await removeVolumes(engine, owner, machineId);
  notes.remove(machineId);
}

/** The rules go last, when no bridge is left that they could be missed on. */
async function dismantle(place: Place, machineId: string, withRules: boolean): Promise<void> {
  const { engine, owner, folder, kind, firewall } = place;
  await removeContainers(engine, owner, machineId);
  await removeFiles(filePlaces(folder, machineId));
  await removeCgroups(kind, owner, machineId);
  if (withRules) await firewall.release(machineId);
}

/** Every machine that left any trace. */
export async function findTraces(place: Place): Promise<Set<string>> {
  const { engine, owner, kind, notes, firewall } = place;
  const found = [
    ...(await listMachines(engine, owner)),
    ...notes.list(),
    ...listCgroups(kind, owner),
    ...(await firewall.list()),
  ];
  return new Set(found.filter((id) => MACHINE_ID.test(id)));
}
