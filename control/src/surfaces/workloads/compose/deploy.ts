// SPDX-License-Identifier: Apache-2.0
/**
 * How much of the machine a service takes. These bounds only keep numbers in the range that Docker
 * takes; that all services together stay within the machine is the driver's to enforce.
 */
import { type Json, type Place, type Reader, table } from "./place.ts";
import { readDuration, readSize } from "./quantities.ts";

/** With SERVICES_MAX (check.ts) the number of containers of one machine. */
export const REPLICAS_MAX = 2;
export const PIDS_MAX = 1_000_000;
const CPUS_MAX = 1024;

export const readReplicas: Reader = (at) => at.number({ min: 1, max: REPLICAS_MAX });
export const readPids: Reader = (at) => at.number({ min: 1, max: PIDS_MAX });
export const readCpus: Reader = (at) => at.number({ min: 0.001, max: CPUS_MAX, fraction: true });
/** Under `deploy`, Docker's schema wants it as a string. */
const readCpusText: Reader = (at) => {
  const cpus = readCpus(at);
  return cpus === undefined ? undefined : String(cpus);
};

const readDevice: Reader = (at) => {
  const device = at.fields(DEVICE, DEVICE_REFUSED);
  if (device === undefined) return undefined;
  if (at.sheet.gpus === 0) return at.refuse("This machine has no GPU.");
  if (device.capabilities === undefined) return at.refuse("A reserved device needs `capabilities: [gpu]`.");
  // `all` would be all of the host's.
  return { driver: "nvidia", count: at.sheet.gpus, ...device };
};
const DEVICE = table<Reader>({
  driver: (at) => at.oneOf("nvidia"),
  count: (at) => {
    if (at.item.kind === "text" && at.string() === "all") return at.sheet.gpus;
    return at.number({ min: 1, max: Math.max(1, at.sheet.gpus) });
  },
  capabilities: (at) => {
    const names = at.listOf((one) => one.oneOf("gpu", "compute", "utility", "graphics", "video", "display"));
    return names === undefined || names.includes("gpu")
      ? names
      : at.refuse("Only GPUs can be reserved: add gpu.");
  },
});
const DEVICE_REFUSED = table({
  device_ids: "GPUs are counted, not chosen; use `count`.",
  options: "Options of a device's driver are not allowed.",
});

const LIMITS = table<Reader>({ cpus: readCpusText, memory: readSize, pids: readPids });
const RESERVATIONS = table<Reader>({
  cpus: readCpusText,
  memory: readSize,
  devices: (at) => at.listOf(readDevice),
});
const RESOURCES = table<Reader>({
  limits: (at) => at.fields(LIMITS),
  reservations: (at) =>
    at.fields(RESERVATIONS, table({ generic_resources: "There are no resources of one's own naming." })),
});
const RESTART = table<Reader>({
  condition: (at) => at.oneOf("none", "on-failure", "any"),
  delay: readDuration({ minMs: 0, maxMs: 3_600_000 }),
  max_attempts: (at) => at.number({ min: 0, max: 1000 }),
  window: readDuration({ minMs: 0, maxMs: 3_600_000 }),
});

/** Of a swarm, which a machine is not: said, and left out. */
const swarmOnly: Reader = (at) => {
  at.warn("This means something in a swarm only, and is left out.");
  return undefined;
};
const DEPLOY = table<Reader>({
  resources: (at) => at.fields(RESOURCES),
  replicas: readReplicas,
  restart_policy: (at) => at.fields(RESTART),
  mode: (at) => at.oneOf("replicated"),
  endpoint_mode: swarmOnly,
  labels: swarmOnly,
  placement: swarmOnly,
  rollback_config: swarmOnly,
  update_config: swarmOnly,
});

export const readDeploy: Reader = (at) => at.fields(DEPLOY);

/** Limits of a process. Those by which it could take precedence on the host (rtprio, nice) are not among them. */
const ULIMITS: ReadonlyMap<string, number> = new Map([
  ["core", 2 ** 40],
  ["cpu", 2 ** 31],
  ["data", 2 ** 40],
  ["fsize", 2 ** 50],
  ["memlock", 2 ** 40],
  ["nofile", 1_048_576],
  ["nproc", 1_048_576],
  ["rss", 2 ** 40],
  ["stack", 2 ** 40],
]);

export const readUlimits: Reader = (at) => {
  const out: { [name: string]: Json } = {};
  for (const [name, member] of at.members() ?? []) {
    const max = ULIMITS.get(name);
    if (max === undefined) {
      member.refuse(`A limit here is one of ${[...ULIMITS.keys()].join(", ")}.`);
      continue;
    }
    // Locked memory counts as memory, so a database may have it without a limit of its own.
    const limit = (one: Place) => one.number({ min: name === "memlock" ? -1 : 0, max });
    const fields = table<Reader>({ soft: limit, hard: limit });
    const value = member.item.kind === "map" ? member.fields(fields) : limit(member);
    if (value === undefined) continue;
    if (typeof value === "object" && !("soft" in value && "hard" in value)) {
      member.refuse("A limit has both soft and hard, or is one number.");
    } else out[name] = value;
  }
  return out;
};
