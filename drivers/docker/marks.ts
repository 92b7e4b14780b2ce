// SPDX-License-Identifier: Apache-2.0
/**
 * The names by which the driver knows its own things again, after a kill and on a computer where others
 * use the same engine. All follow from the owner and the machine's id, so nothing has to be remembered
 * to find them.
 */
import { createHash } from "node:crypto";

export const LABEL_OWNER = "casemate.owner";
/** A random number of the driver's folder: what a lost folder left is another's, though the owner is the same. */
export const LABEL_INSTALLATION = "casemate.installation";
export const LABEL_MACHINE = "casemate.machine";
/** How deep a service stands on others; containers with the highest are stopped first. */
export const LABEL_LEVEL = "casemate.level";
/** What compose calls a container's service, in every version. */
export const LABEL_SERVICE = "com.docker.compose.service";

/** Every bridge of every machine of every driver begins so: the firewall tells them by it. */
export const BRIDGE_PREFIX = "csm";

export const MACHINE_ID = /^mach_[0-9a-f]{32}$/;
/** Goes into comments of rules, paths and labels. */
export const OWNER = /^[a-z0-9][a-z0-9.-]{0,39}$/;

const digest = (...parts: string[]) => createHash("sha256").update(parts.join("\n")).digest("hex");

/** The kernel takes 15 characters for the name of an interface. */
export const bridgeOf = (owner: string, machineId: string, network: string) =>
  BRIDGE_PREFIX + digest("bridge", owner, machineId, network).slice(0, 12);

/** iptables takes 28 for a chain. */
export const chainOf = (owner: string, machineId: string) =>
  `CASEMATE-${digest("chain", owner, machineId).slice(0, 16).toUpperCase()}`;

export const commentOf = (owner: string, machineId: string) => `casemate:${owner}:${machineId}`;

/** Stands in the environment of every program that the driver starts for a machine. */
export const processMark = (owner: string, machineId: string) => `CASEMATE_MARK=${owner}/${machineId}`;

/** A number that stays the same for a machine, to begin a search with. */
export const numberOf = (machineId: string, below: number) =>
  Number.parseInt(digest("number", machineId).slice(0, 12), 16) % below;
