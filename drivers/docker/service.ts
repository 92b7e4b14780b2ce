// SPDX-License-Identifier: Apache-2.0
/**
 * One service of the document, made anew from the members that are known to be harmless on an engine
 * that many machines share. What is not on a list below is refused by name, so that a member that
 * compose learns tomorrow is not let through today.
 *
 * The attacker sends a document to get out of the container (`privileged`), into another machine
 * (`container:…`, `container_name`, `external_links`), at other software that reads this engine's
 * labels, or at the compose program itself (`provider`, `build`).
 */
import { type ImageName, parseImage } from "./image-name.ts";
import { FILES_ROOT, type MountContext, mountsOf, tmpfsText, uploadedPath } from "./mounts.ts";
import {
  isEmpty,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  objectAt,
  refuse,
  stringAt,
} from "./refuse.ts";

/** Taken as they are: they mean something inside the container only, or inside this machine only. */
const KEPT = [
  ...["command", "entrypoint", "user", "group_add", "working_dir", "tty", "stdin_open", "init", "read_only"],
  ...["hostname", "domainname", "dns", "dns_opt", "dns_search", "extra_hosts", "expose", "links"],
  ...["mem_limit", "mem_reservation", "memswap_limit", "cpu_shares", "shm_size", "sysctls", "ulimits"],
  ...["restart", "stop_grace_period", "stop_signal", "profiles", "platform"],
];
/** Read below and written in another form. */
const WRITTEN = [
  ...[
    "image",
    "pull_policy",
    "extends",
    "depends_on",
    "healthcheck",
    "environment",
    "env_file",
    "container_name",
  ],
  ...[
    "volumes",
    "configs",
    "secrets",
    "networks",
    "network_mode",
    "cpus",
    "pids_limit",
    "deploy",
    "cap_drop",
    "scale",
    "tmpfs",
    "pid",
    "ipc",
  ],
];
/**
 * Without meaning here. `ports` is for a machine that is a computer of its own: on an engine that is
 * shared they would be the host's, first come first served, open to the world, and so only the public
 * port is published, on loopback, for the ingress. Labels are read by whatever else the operator lets
 * see this engine (proxies, updaters); inside the machine nobody can.
 */
const DROPPED = [
  "ports",
  "labels",
  "logging",
  "cpu_quota",
  "cpu_period",
  "cpuset",
  "annotations",
  "attach",
  "develop",
];

/** What Docker gives by default, less AUDIT_WRITE, MKNOD, NET_RAW and SYS_CHROOT. */
export const CAPABILITIES = [
  ...["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE"],
  ...["SETFCAP", "SETGID", "SETPCAP", "SETUID"],
];
const REPLICAS_MAX = 2;
/** What a service may have of its own, beside what another service of the document has. */
const SHARED: Record<string, string[]> = { pid: [], ipc: ["none", "private", "shareable"] };

export interface ServiceContext extends MountContext {
  /** Declared at the top of the document. */
  services: JsonObject;
  networks: ReadonlySet<string>;
  env: Readonly<Record<string, string>>;
  cpuMillis: number;
  pidsMax: number;
  layerMiB: number;
  cgroupParent: string;
  labels: Record<string, string>;
  /** Mounted into every container; see files.ts on what it is for. */
  leash: string;
}

export interface ReadService {
  image: ImageName;
  pullPolicy: string;
  replicas: number;
  body: JsonObject;
}

export function readService(name: string, context: ServiceContext): ReadService {
  const path = `services.${name}`;
  const given = objectAt(context.services[name], path);
  for (const key of Object.keys(given))
    if (![...KEPT, ...WRITTEN, ...DROPPED].includes(key) && !key.startsWith("x-"))
      refuse(`${path}.${key}`, "is not possible on this host");
  const base = baseOf(name, context.services);
  const image = parseImage(stringAt(inherited(name, "image", context.services), `${path}.image`), path);
  const { deploy, replicas, amounts } = deployOf(given, path);
  const mounts = mountsOf(given, path, context);
  const onMemory = [
    ...(Array.isArray(given.tmpfs) ? given.tmpfs : given.tmpfs === undefined ? [] : [given.tmpfs]),
    ...mounts.filter(({ type }) => type === "tmpfs").map(tmpfsText),
  ];
  const body: JsonObject = { ...amounts };
  for (const key of KEPT) if (given[key] !== undefined) body[key] = given[key];
  Object.assign(body, {
    image: image.full,
    // The driver has brought it, with the right to run it; compose would fetch whatever is missing.
    pull_policy: "never",
    environment: environmentOf(given.environment, `${path}.environment`, context.env),
    volumes: [
      ...mounts.filter(({ type }) => type !== "tmpfs"),
      { type: "bind", source: context.leash, target: "/run/casemate", read_only: true },
    ],
    labels: context.labels,
    logging: { driver: "json-file", options: { "max-size": "10m", "max-file": "3" } },
    ...powersOf(name, context.services),
    cgroup_parent: context.cgroupParent,
    pids_limit: pidsOf(given, context.pidsMax),
    ...networksOf(given, path, context),
    ...(base === null ? {} : { extends: { service: base } }),
    ...(deploy === null ? {} : { deploy }),
    ...(context.layerMiB > 0 ? { storage_opt: { size: `${context.layerMiB}m` } } : {}),
  });
  for (const [key, own] of Object.entries(SHARED))
    if (given[key] !== undefined && given[key] !== null)
      body[key] = sharedOf(stringAt(given[key], `${path}.${key}`), own, `${path}.${key}`, context.services);
  const cpus = given.cpus ?? amounts.cpus;
  if (cpus !== undefined) body.cpus = atMost(cpus, context.cpuMillis / 1000);
  if (onMemory.length > 0) body.tmpfs = onMemory;
  if (given.scale !== undefined) body.scale = replicas;
  if (!isEmpty(given.healthcheck)) body.healthcheck = healthcheckOf(given.healthcheck, path);
  if (given.env_file !== undefined) body.env_file = envFiles(given.env_file, path, context);
  const depends = dependenciesOf(given, path, context.services);
  if (Object.keys(depends).length > 0) body.depends_on = depends;
  const policy = inherited(name, "pull_policy", context.services);
  return { image, pullPolicy: typeof policy === "string" ? policy : "missing", replicas, body };
}

/** `host` and `container:…` are what somebody wants to have here. */
function sharedOf(mode: string, own: readonly string[], path: string, services: JsonObject): string {
  const other = /^service:(.+)$/.exec(mode)?.[1];
  if (own.includes(mode) || (other !== undefined && Object.hasOwn(services, other))) return mode;
  return refuse(path, `must be ${[...own, "service:<name>"].join(" or ")}`);
}

/** The service that this one extends, or null. */
export function baseOf(name: string, services: JsonObject): string | null {
  const value = objectAt(services[name], `services.${name}`).extends;
  if (value === undefined || value === null) return null;
  if (isObject(value) && value.file !== undefined)
    refuse(`services.${name}.extends`, "must name a service only");
  const base = stringAt(isObject(value) ? value.service : value, `services.${name}.extends`);
  return Object.hasOwn(services, base) ? base : refuse(`services.${name}.extends`, "names no service");
}

function inherited(name: string, key: string, services: JsonObject): Json | undefined {
  const seen = new Set<string>();
  for (let at: string | null = name; at !== null && !seen.has(at); at = baseOf(at, services)) {
    seen.add(at);
    const value = objectAt(services[at], `services.${at}`)[key];
    if (value !== undefined && value !== null) return value;
  }
  return undefined;
}

/** Service → condition, of every service that this one waits for. */
export function dependenciesOf(
  given: JsonObject,
  path: string,
  services: JsonObject,
): Record<string, JsonObject> {
  const value = given.depends_on;
  const entries: [string, Json][] = Array.isArray(value)
    ? value.map((name) => [stringAt(name, `${path}.depends_on`), "service_started"])
    : Object.entries(objectAt(value, `${path}.depends_on`)).map(([name, each]) => [
        name,
        (isObject(each) ? each.condition : undefined) ?? "service_started",
      ]);
  return Object.fromEntries(
    entries.map(([name, condition]) => {
      if (!Object.hasOwn(services, name)) refuse(`${path}.depends_on`, "names no service");
      return [name, { condition }];
    }),
  );
}

/**
 * A bare name takes its value from the payload. It is resolved here and not by compose from its own
 * environment: a client who could set LD_PRELOAD or PYTHONPATH there would run code as this host.
 */
function environmentOf(
  value: Json | undefined,
  path: string,
  env: Readonly<Record<string, string>>,
): JsonObject {
  const entries: [string, Json | undefined][] = Array.isArray(value)
    ? value.map((each) => {
        const text = stringAt(each, path);
        const at = text.indexOf("=");
        return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
      })
    : Object.entries(objectAt(value, path));
  const result: JsonObject = {};
  for (const [name, each] of entries) {
    if (each !== null && each !== undefined)
      result[name] = typeof each === "object" ? refuse(path, "is nested") : each;
    else if (Object.hasOwn(env, name)) result[name] = escapeDollars(env[name]!);
  }
  return result;
}

/** Compose interpolates what it reads; the document has been through that already. */
export const escapeDollars = (text: string) => text.replaceAll("$", "$$$$");

function envFiles(value: Json, path: string, context: ServiceContext): string[] {
  const entries = Array.isArray(value) ? value : [value];
  return entries.flatMap((each) => {
    const file = stringAt(isObject(each) ? each.path : each, `${path}.env_file`);
    const name = file.slice(FILES_ROOT.length + 1);
    if (isObject(each) && each.required === false && !context.uploaded.has(name)) return [];
    return [escapeDollars(uploadedPath(file, `${path}.env_file`, context))];
  });
}

/**
 * Compose adds a service's lists to those of the service that it extends, and today's compose refuses
 * what then stands twice. So only the first of a chain says it, the others inherit it (start.ts looks
 * that they did), and can leave out no more.
 */
function powersOf(name: string, services: JsonObject): JsonObject {
  const base = baseOf(name, services);
  const left = capabilitiesLeft(name, services);
  if (base === null) return { security_opt: ["no-new-privileges:true"], cap_drop: ["ALL"], cap_add: left };
  if (left.length !== capabilitiesLeft(base, services).length)
    refuse(`services.${name}.cap_drop`, "cannot name more than the service that this one extends");
  return {};
}

function capabilitiesLeft(name: string, services: JsonObject): string[] {
  const dropped = new Set<string>();
  const seen = new Set<string>();
  for (let at: string | null = name; at !== null && !seen.has(at); at = baseOf(at, services)) {
    seen.add(at);
    const path = `services.${at}.cap_drop`;
    for (const each of listAt(objectAt(services[at], path).cap_drop, path))
      dropped.add(stringAt(each, path).toUpperCase().replace(/^CAP_/, ""));
  }
  return dropped.has("ALL") ? [] : CAPABILITIES.filter((each) => !dropped.has(each));
}

/**
 * `container_name` is one name for the whole engine, so it would be a way to keep another machine from
 * starting. It stays what it is inside the machine: a name that resolves.
 */
function networksOf(given: JsonObject, path: string, context: ServiceContext): JsonObject {
  const mode = given.network_mode;
  if (mode !== undefined && mode !== null) {
    return {
      network_mode: sharedOf(stringAt(mode, path), ["none"], `${path}.network_mode`, context.services),
    };
  }
  const asked: [string, Json | undefined][] = Array.isArray(given.networks)
    ? given.networks.map((each) => [stringAt(each, `${path}.networks`), null])
    : Object.entries(objectAt(given.networks, `${path}.networks`));
  const named = asked.length === 0 ? [["default", null] as const] : asked;
  const alias = given.container_name === undefined ? [] : [stringAt(given.container_name, path)];
  const networks: JsonObject = {};
  for (const [name, value] of named) {
    if (!context.networks.has(name)) refuse(`${path}.networks.${name}`, "is not declared");
    const options = objectAt(value, `${path}.networks.${name}`);
    for (const key of Object.keys(options))
      if (!["aliases", "priority"].includes(key))
        refuse(
          `${path}.networks.${name}.${key}`,
          "is not possible on this host, which chooses addresses itself",
        );
    const aliases = [...listAt(options.aliases, path), ...alias];
    networks[name] = aliases.length === 0 ? null : { aliases };
  }
  return { networks };
}

function pidsOf(given: JsonObject, pidsMax: number): number {
  const asked = given.pids_limit;
  return typeof asked === "number" && asked > 0 ? Math.min(asked, pidsMax) : pidsMax;
}

/** More than the machine has is refused by the kernel below the machine's cgroup, so it is cut. */
function atMost(value: Json, max: number): Json {
  return Number(value) > max ? max : value;
}

/**
 * What may be said about resources; the machine's own limits stand above all of it. It is said in one
 * place only, that of the service: compose of today refuses what differs between the two, the older
 * one knows no `pids` in `deploy`, and one of the two may come from the service that this one extends.
 */
function deployOf(given: JsonObject, path: string) {
  const deploy = objectAt(given.deploy, `${path}.deploy`);
  const asked = deploy.replicas ?? given.scale ?? 1;
  const replicas = typeof asked === "number" ? asked : Number(asked);
  if (!Number.isInteger(replicas) || replicas < 0 || replicas > REPLICAS_MAX)
    refuse(`${path}.deploy.replicas`, `must be a number up to ${REPLICAS_MAX}`);
  const result: JsonObject = {};
  if (deploy.replicas !== undefined) result.replicas = replicas;
  if (!isEmpty(deploy.restart_policy)) result.restart_policy = deploy.restart_policy!;
  const resources = objectAt(deploy.resources, `${path}.deploy.resources`);
  const amounts: JsonObject = {};
  for (const kind of ["limits", "reservations"] as const) {
    const { cpus, memory, pids: _, ...rest } = objectAt(resources[kind], `${path}.deploy.resources.${kind}`);
    for (const key of Object.keys(rest))
      refuse(`${path}.deploy.resources.${kind}.${key}`, "is not possible on this host");
    // Cpus that are reserved mean nothing to an engine of one host.
    if (kind === "limits" && cpus !== undefined) amounts.cpus = Number(cpus);
    if (memory !== undefined) amounts[kind === "limits" ? "mem_limit" : "mem_reservation"] = memory;
  }
  return { deploy: Object.keys(result).length === 0 ? null : result, replicas, amounts };
}

/** `start_interval` is younger than some versions of compose that we work with. */
function healthcheckOf(value: Json | undefined, path: string): JsonObject {
  const { start_interval: _, ...rest } = objectAt(value, `${path}.healthcheck`);
  return rest;
}
