// SPDX-License-Identifier: Apache-2.0
/**
 * One service: every member that is allowed, with how it is read, and why the others are not. What is
 * in neither table is refused as well, so a member that Docker learns tomorrow is not had by surprise.
 */
import { readCpus, readDeploy, readPids, readReplicas, readUlimits } from "./deploy.ts";
import { readUpload } from "./files.ts";
import { readImage } from "./image.ts";
import { readEnvironment, readHostname, readLabels, readLink, readServiceName } from "./names.ts";
import { type Json, type Place, type Reader, table } from "./place.ts";
import { readExposed, readPort } from "./ports.ts";
import { readCommand, readDuration, readGroup, readInnerPath, readSize, readUser } from "./quantities.ts";
import { readUse } from "./secrets.ts";
import { readMount, readTmpfs } from "./volumes.ts";

export function readService(at: Place): { [key: string]: Json } | undefined {
  if (at.empty) return at.refuse("A service cannot be empty; it needs an image.");
  const service = at.fields(SERVICE, REFUSED);
  if (
    service?.network_mode !== undefined &&
    (service.networks !== undefined || service.ports !== undefined)
  ) {
    return at.refuse("A service with a network_mode has neither networks nor ports of its own.");
  }
  return service;
}

const second = 1000;
const hour = 3_600_000;
const flag: Reader = (at) => at.flag();
const pause = readDuration({ minMs: second, maxMs: hour });

const HEALTHCHECK = table<Reader>({
  test: (at) => {
    if (at.item.kind !== "list") return at.string();
    const test = at.listOf((one) => one.scalar());
    const known = test === undefined || ["NONE", "CMD", "CMD-SHELL"].includes(test[0] ?? "");
    return known ? test : at.refuse("The list of a test starts with NONE, CMD or CMD-SHELL.");
  },
  // More often than once in a second it would be work for the host rather than a check.
  interval: pause,
  timeout: pause,
  start_interval: pause,
  start_period: readDuration({ minMs: 0, maxMs: hour }),
  retries: (at) => at.number({ min: 0, max: 1000 }),
  disable: flag,
});

const DEPENDENCY = table<Reader>({
  condition: (at) => at.oneOf("service_started", "service_healthy", "service_completed_successfully"),
  restart: flag,
  required: flag,
});

const readDependencies: Reader = (at) => {
  if (at.item.kind !== "map") return at.listOf(readServiceName);
  const out: { [service: string]: Json } = {};
  for (const [name, member] of at.members() ?? []) {
    if (!at.sheet.declared.services.has(name))
      member.refuse("There is no service of this name in the document.");
    else {
      const dependency = member.fields(DEPENDENCY);
      if (dependency !== undefined) out[name] = { condition: "service_started", ...dependency };
    }
  }
  return out;
};

const JOINED_REFUSED = table({
  ipv4_address: "Addresses are given by the platform.",
  ipv6_address: "Addresses are given by the platform.",
  link_local_ips: "Addresses are given by the platform.",
  mac_address: "Addresses are given by the platform.",
  driver_opts: "Options of a network's driver are not allowed.",
});
const JOINED = table<Reader>({
  aliases: (at) => at.listOf(readHostname),
  priority: (at) => at.number({ min: 0, max: 1000 }),
});

const readNetworks: Reader = (at) => {
  const known = (name: string) => name === "default" || at.sheet.declared.networks.has(name);
  const rule = "There is no network of this name under `networks`.";
  if (at.item.kind !== "map") {
    return at.listOf((one) => {
      const name = one.string();
      return name === undefined || known(name) ? name : one.refuse(rule);
    });
  }
  const out: { [network: string]: Json } = {};
  for (const [name, member] of at.members() ?? []) {
    if (!known(name)) member.refuse(rule);
    else out[name] = member.empty ? null : (member.fields(JOINED, JOINED_REFUSED) ?? null);
  }
  return out;
};

/** `none`, or what another service of the document has; never the host's, nor a stranger's. */
const namespaceOf =
  (what: string, ...own: string[]): Reader =>
  (at) => {
    const mode = at.string();
    if (mode === undefined || own.includes(mode)) return mode;
    if (mode.startsWith("service:") && at.sheet.declared.services.has(mode.slice("service:".length)))
      return mode;
    const words = [...own, "service:<a service of the document>"].join(", ");
    return at.refuse(
      `A service cannot share ${what} of the host or of another machine; it can have ${words}.`,
    );
  };

const readEnvFile: Reader = (at) => {
  const fields = table<Reader>({ path: readUpload, required: flag });
  return at.listOrOne((one) => {
    if (one.item.kind !== "map") return readUpload(one);
    const file = one.fields(fields, table({ format: "Files of variables have one format here." }));
    if (file === undefined || typeof file.path === "string") return file?.path;
    return one.item.entries.has("path") ? undefined : one.refuse("This needs a path.");
  });
};

const readExtends: Reader = (at) => {
  const fields = table<Reader>({ service: readServiceName });
  const refused = table({ file: "A service can extend another of the same document only." });
  if (at.item.kind !== "map") {
    const service = readServiceName(at);
    return service === undefined ? undefined : { service };
  }
  const base = at.fields(fields, refused);
  if (base === undefined || base.service !== undefined) return base;
  return at.item.entries.has("service") ? undefined : at.refuse("This needs the service that is extended.");
};

const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9a-fA-F:]*:[0-9a-fA-F:.]*\]?)$/;

const readExtraHosts: Reader = (at) => {
  const rule =
    "This must be a host name and an address, such as db:10.0.0.5; the host itself cannot be named.";
  const line = (member: Place, name: string, address: string): string | undefined =>
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$/.test(name) && ADDRESS.test(address)
      ? `${name}:${address.replace(/^\[|\]$/g, "")}`
      : member.refuse(rule);
  if (at.item.kind === "map") {
    const lines: Json[] = [];
    for (const [name, member] of at.members() ?? []) {
      const address = member.string();
      const one = address === undefined ? undefined : line(member, name, address);
      if (one !== undefined) lines.push(one);
    }
    return lines;
  }
  return at.listOf((one) => {
    const text = one.string();
    if (text === undefined) return undefined;
    const cut = text.search(/[:=]/);
    return cut < 0 ? one.refuse(rule) : line(one, text.slice(0, cut), text.slice(cut + 1));
  });
};

/** The platform keeps logs, and bounds them: what asks for the usual driver is left out. */
const readLogging: Reader = (at) => {
  const options = table<Reader>({ "max-size": (one) => one.scalar(), "max-file": (one) => one.scalar() });
  const fields = table<Reader>({
    driver: (one) => {
      const driver = one.string();
      if (driver === undefined || driver === "json-file" || driver === "local") return undefined;
      return one.refuse("Logs cannot be sent elsewhere by the host: leave the driver out.");
    },
    options: (one) =>
      one.fields(
        options,
        new Map(
          [...(one.item.kind === "map" ? one.item.entries.keys() : [])].map((key) => [
            key,
            "Only max-size and max-file are known.",
          ]),
        ),
      ),
  });
  at.fields(fields);
  at.warn("The platform bounds logs itself; this is left out.");
  return undefined;
};

const leftOut =
  (why: string): Reader =>
  (at) => {
    at.warn(why);
    return undefined;
  };

const SERVICE = table<Reader>({
  image: readImage,
  command: readCommand,
  entrypoint: readCommand,
  environment: readEnvironment,
  env_file: readEnvFile,
  volumes: (at) => at.listOf(readMount),
  ports: (at) => at.listOf(readPort),
  expose: (at) => at.listOf(readExposed),
  depends_on: readDependencies,
  links: (at) => at.listOf(readLink),
  networks: readNetworks,
  network_mode: namespaceOf("the network", "none"),
  pid: namespaceOf("the processes"),
  ipc: namespaceOf("the memory", "none", "private", "shareable"),
  healthcheck: (at) => at.fields(HEALTHCHECK),
  restart: (at) =>
    at.matching(
      /^(?:no|always|unless-stopped|on-failure(?::\d{1,5})?)$/,
      "This must be no, always, unless-stopped or on-failure.",
    ),
  deploy: readDeploy,
  scale: readReplicas,
  cpus: readCpus,
  mem_limit: readSize,
  mem_reservation: readSize,
  pids_limit: readPids,
  shm_size: readSize,
  ulimits: readUlimits,
  labels: readLabels,
  working_dir: readInnerPath,
  user: readUser,
  group_add: (at) => at.listOf(readGroup),
  hostname: readHostname,
  domainname: readHostname,
  extra_hosts: readExtraHosts,
  init: flag,
  tty: flag,
  stdin_open: flag,
  read_only: flag,
  tmpfs: (at) => at.listOrOne(readTmpfs),
  configs: (at) => at.listOf(readUse("configs")),
  secrets: (at) => at.listOf(readUse("secrets")),
  extends: readExtends,
  profiles: (at) =>
    at.listOf((one) => one.matching(/^[A-Za-z0-9][\w.-]{0,62}$/, "This must be the name of a profile.")),
  cap_drop: (at) =>
    at.listOf((one) => one.matching(/^[A-Za-z_]{1,64}$/, "This must be the name of a capability.")),
  stop_signal: (at) =>
    at.matching(
      /^(?:[1-9]|[1-5]\d|6[0-4]|(?:SIG)?[A-Z]{1,8}\d?(?:[+-]\d{1,2})?)$/,
      "This must be a signal.",
      "scalar",
    ),
  stop_grace_period: readDuration({ minMs: 0, maxMs: 300_000 }),
  platform: (at) =>
    at.matching(/^linux\/[a-z0-9]{1,16}(?:\/v\d)?$/, "This must be a platform such as linux/amd64."),
  pull_policy: (at) => at.oneOf("always", "missing", "if_not_present", "never"),
  logging: readLogging,
  attach: () => undefined,
  container_name: leftOut(
    "The platform names containers; other services find this one by its service's name.",
  ),
  // What says that it does not want a power is heard; that it has none goes without saying.
  privileged: refusedUnlessFalse("A container cannot be privileged: it would have the machine's kernel."),
  use_api_socket: refusedUnlessFalse(
    "A container cannot be given Docker's socket: it would command the host.",
  ),
});

function refusedUnlessFalse(why: string): Reader {
  return (at) => {
    if (at.item.kind === "flag" && !at.item.value) return undefined;
    if (at.item.kind === "text" && at.string() === "false") return undefined;
    return at.refuse(why);
  };
}

const NOT_ALONE = "A container does not share this with the host.";
const REFUSED = table({
  build: "Nothing is built here; push the image to a registry and name it in `image`.",
  cap_add: "A container gets no capabilities beyond Docker's usual ones.",
  security_opt: "The platform sets the security options of containers itself.",
  devices: "A container gets no devices of the host.",
  device_cgroup_rules: "A container gets no devices of the host.",
  gpus: "Ask for GPUs under deploy.resources.reservations.devices.",
  userns_mode: NOT_ALONE,
  uts: NOT_ALONE,
  cgroup: NOT_ALONE,
  cgroup_parent: "The platform chooses where a container is accounted.",
  sysctls: "Parameters of the kernel cannot be set.",
  runtime: "The platform chooses the runtime.",
  isolation: "The platform chooses the isolation.",
  storage_opt: "The platform chooses where a container is stored.",
  blkio_config: "Weights and limits name devices of the host.",
  oom_kill_disable: "The host's protection against lack of memory cannot be changed.",
  oom_score_adj: "The host's protection against lack of memory cannot be changed.",
  mem_swappiness: "Swapping cannot be changed.",
  memswap_limit: "Swapping cannot be changed.",
  cpuset: "A service cannot choose processors; use `cpus`.",
  cpu_shares: "Use `cpus`, or deploy.resources.",
  cpu_quota: "Use `cpus`, or deploy.resources.",
  cpu_period: "Use `cpus`, or deploy.resources.",
  cpu_count: "Use `cpus`, or deploy.resources.",
  cpu_percent: "Use `cpus`, or deploy.resources.",
  cpu_rt_runtime: "Real-time scheduling takes precedence on the host.",
  cpu_rt_period: "Real-time scheduling takes precedence on the host.",
  dns: "The platform sets the name servers.",
  dns_opt: "The platform sets the name servers.",
  dns_search: "The platform sets the name servers.",
  mac_address: "Addresses are given by the platform.",
  volumes_from: "Name the volumes themselves; a container's volumes cannot be taken over.",
  external_links: "Only services of the same document can be linked.",
  provider: "A provider is a program of the host.",
  post_start: "Hooks are not run; put it in the command.",
  pre_stop: "Hooks are not run; put it in the command.",
  credential_spec: "This is for another system.",
  label_file: "Write the labels under `labels`.",
  annotations: "Annotations speak to the host's runtime; use `labels`.",
  develop: "This is for development on one's own machine.",
  models: "Models are not started by this document.",
  pull_refresh_after: "Images are pulled when the machine starts.",
});
