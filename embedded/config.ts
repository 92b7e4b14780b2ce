// SPDX-License-Identifier: Apache-2.0
/**
 * What the three processes are told, from one file of the user's: `{ "control": {…}, "host": {…} }`.
 * Each process checks its own part against its own schema and refuses unknown keys.
 */
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, copyFileSync, readFileSync, statfsSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { cpus, totalmem } from "node:os";
import { isAbsolute } from "node:path";
import type { AdminKey } from "./admin-key.ts";
import { CONTROL_ROLE } from "./database.ts";
import { type Layout, signerPlace } from "./layout.ts";
import type { NamesPlace } from "./names/place.ts";

export interface UserConfig {
  control: Record<string, unknown>;
  host: Record<string, unknown>;
  logs: { bytesMax: number; filesMax: number };
  images: ImagesChoice;
}

/** Of images for virtual machines, which are made in the background. */
export interface ImagesChoice {
  build: boolean;
  /** Folder of `<image>.lock.json` instead of this release's. */
  lockFolder: string | null;
  /** An apt sources list instead of the one that is made. */
  sources: string | null;
}

const IMAGES: ImagesChoice = { build: true, lockFolder: null, sources: null };
const LOGS = { bytesMax: 10 * 1024 * 1024, filesMax: 5 };

export function readUserConfig(path: string | null): UserConfig {
  if (path === null) return { control: {}, host: {}, logs: LOGS, images: IMAGES };
  let given: Record<string, unknown>;
  try {
    given = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new Error(`config file ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const unknown = Object.keys(given).find((key) => !["control", "host", "logs", "images"].includes(key));
  if (unknown !== undefined) throw new Error(`config file ${path}: there is no key ${unknown}`);
  const logs = (given.logs ?? {}) as Record<string, unknown>;
  for (const [key, value] of Object.entries(logs)) {
    if (!Object.hasOwn(LOGS, key)) throw new Error(`config file ${path}: there is no key logs.${key}`);
    if (!Number.isInteger(value) || (value as number) < 1)
      throw new Error(`config file ${path}: logs.${key} must be a positive integer`);
  }
  const images = imagesChoice(given.images ?? {}, path);
  return { control: {}, host: {}, ...given, logs: { ...LOGS, ...logs }, images };
}

function imagesChoice(given: object, path: string): ImagesChoice {
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(IMAGES, key)) throw new Error(`config file ${path}: there is no key images.${key}`);
    if (key === "build" ? typeof value !== "boolean" : typeof value !== "string" || !isAbsolute(value))
      throw new Error(
        `config file ${path}: images.${key} must be ${key === "build" ? "true or false" : "an absolute path"}`,
      );
  }
  return { ...IMAGES, ...given };
}

/** The environment goes before the file, as everywhere. */
export function imagesOf({ images }: UserConfig, environment: NodeJS.ProcessEnv): ImagesChoice {
  const { CASEMATE_IMAGES_BUILD: build = "" } = environment;
  if (!["", "true", "false"].includes(build)) throw new Error("CASEMATE_IMAGES_BUILD must be true or false");
  return build === "" ? images : { ...images, build: build === "true" };
}

/** Where control will listen: flag, environment, file, default. Decided here so that we know whom to ask. */
export interface Address {
  host: string;
  port: number;
  tls: boolean;
}

export function addressOf(flag: number | null, user: UserConfig, environment: NodeJS.ProcessEnv): Address {
  const http = (user.control.http ?? {}) as { host?: string; port?: number; tls?: unknown };
  const set = (name: string) => (environment[name] === "" ? undefined : environment[name]);
  return {
    host: set("CASEMATE_HTTP_HOST") ?? http.host ?? "127.0.0.1",
    port: flag ?? Number(set("CASEMATE_HTTP_PORT") ?? http.port ?? 8787),
    tls: http.tls !== undefined && http.tls !== null,
  };
}

const NEAR = /^(127\.0\.0\.1|localhost|0\.0\.0\.0|::)$/;

/** The API's own name, below the zone of workloads, whose entry serves it over TLS. */
export function apiDomain(user: UserConfig, environment: NodeJS.ProcessEnv): string {
  const { zone } = (user.control.workloads ?? {}) as { zone?: string };
  return `api.${environment.CASEMATE_WORKLOADS_ZONE || zone || "workloads.localhost"}`;
}

/** The domain of instances' names. */
export function instancesZone(user: UserConfig, environment: NodeJS.ProcessEnv): string {
  const { zone } = (user.control.instances ?? {}) as { zone?: string };
  return environment.CASEMATE_INSTANCES_ZONE || zone || "casemate.internal";
}

/** There may be instances, and nobody has said where their names are answered. */
export const needsNames = (layout: Layout, { control, host }: UserConfig, environment: NodeJS.ProcessEnv) =>
  (layout.root || (host.kept ?? null) !== null) &&
  (control.names as { host?: unknown } | undefined)?.host === undefined &&
  !environment.CASEMATE_NAMES_HOST;

/** True when the user's configuration names a PostgreSQL of their own. */
export const usesOwnServer = (user: UserConfig): boolean =>
  typeof (user.control.database as { urlFile?: unknown } | undefined)?.urlFile === "string";

/** Of virtual machines: what control reads of them, unless the user's configuration says otherwise. */
export const imagesFolderOf = (layout: Layout, { control }: UserConfig): string | null =>
  control.imagesFolder === undefined ? layout.path("images") : (control.imagesFolder as string | null);

type Tree = Record<string, unknown>;
const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Files that hold secrets (`…File`) are copied to where control's uid, which sees nothing else, may
 * read them; the copies are its own and 0600.
 */
function handOver(control: Tree, layout: Layout): Tree {
  // A folder that control cannot write: root follows no link of control's making.
  const folder = layout.path("config");
  const entries = Object.entries(control).map(([key, value]): [string, unknown] => {
    if (isTree(value)) return [key, handOver(value, layout)];
    if (!key.endsWith("File") || typeof value !== "string") return [key, value];
    const copy = `${folder}/${key}`;
    copyFileSync(value, copy);
    chmodSync(copy, 0o600);
    if (layout.owners !== null) chownSync(copy, layout.owners.control.uid, layout.owners.control.gid);
    return [key, copy];
  });
  return Object.fromEntries(entries);
}

/** `over` on top of `base`, object by object. */
function overlay(base: Tree, over: Tree): Tree {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isTree(below) && isTree(value) ? overlay(below, value) : value;
  }
  return merged;
}

export interface Wiring {
  layout: Layout;
  admin: AdminKey;
  address: Address;
  /** null: control uses a server of the user's own. */
  databaseSocket: string | null;
  user: UserConfig;
  ingressPorts: IngressPorts;
  /** Where control answers for the names of instances; null: it is not us who says. */
  names: NamesPlace | null;
  /** Plain HTTP also where others could listen in. */
  insecure: boolean;
}

export interface IngressPorts {
  httpPort: number;
  httpsPort: number;
}

/** Ports that people can remember, or any others when something else has them. */
export async function ingressPortsHere(): Promise<IngressPorts> {
  const [httpPort, httpsPort] = await Promise.all([8780, 8743].map(freeOrAny));
  return { httpPort: httpPort!, httpsPort: httpsPort! };
}

/** Found now and taken a moment later: a host that comes too late ends, and is started again with others. */
function freeOrAny(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => (port === 0 ? reject(error) : resolve(freeOrAny(0))));
    server.listen(port, "127.0.0.1", () => {
      const { port: found } = server.address() as AddressInfo;
      server.close(() => resolve(found));
    });
  });
}

/**
 * Containers need root and an engine, virtual machines QEMU and an image. These may come later: the drivers say what is
 * missing until then, and every workload is refused with it.
 */
function keptDefaults(
  layout: Layout,
  memoryMiB: number,
  { ingress, registriesInside }: Pick<HostWiring, "ingress" | "registriesInside">,
): Tree | null {
  if (!layout.root) return null;
  return {
    docker: {
      ...{ socketPath: "/var/run/docker.sock", folder: layout.path("docker") },
      registriesInside,
    },
    qemu: { folder: layout.path("vms"), isolations: ["vm", "vm-vtpm"] },
    systemContainers: { folder: layout.path("vms") },
    // All of them are this computer's, without anybody's doing.
    ssh: { addresses: "127.64.0.0/10", port: 2222, redirect: true },
    // Containers get what their tier promises, so nothing is offered twice; some is left for the host.
    ceiling: {
      cpuMillis: cpus().length * 1000,
      memoryMiB: Math.max(1, memoryMiB - 1024),
      diskMiB: Math.max(1, Math.floor(freeMiB(layout.state) / 2)),
    },
    ingress,
    // One machine of one person: what they stop is stopped.
    haltOnStop: true,
  };
}

function freeMiB(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return Math.floor((bavail * bsize) / 1024 / 1024);
}

export interface HostWiring {
  layout: Layout;
  /** How it meets control: `linkPath` or `nats`. */
  meeting: Tree;
  user: UserConfig;
  ingress: IngressPorts & { host: string; api?: { domain: string; port: number; proofFile?: string } };
  /** Registries at addresses inside that clients may name. */
  registriesInside: string[];
}

/** What a host is told, on control's machine or on one of its own. */
export function hostConfig({ layout, meeting, user, ...kept }: HostWiring): Tree {
  const memoryMiB = Math.floor(totalmem() / 1024 / 1024);
  return overlay(
    {
      stateFolder: layout.path("host"),
      imagesFolder: layout.path("images"),
      ...meeting,
      sandboxFolder: layout.runFolder,
      signer: signerPlace(layout.state),
      proberUid: layout.owners?.prober ?? null,
      ingressUid: layout.owners?.ingress ?? null,
      traces: { folders: [layout.path("host"), layout.path("control"), layout.path("logs")], logs: [] },
      // Limits are bounds, not reservations: most sandboxes stay far below theirs, so memory is offered
      // sixteen times over. Whoever wants no overcommitment sets memoryTotalMiB to the machine's memory.
      ceiling: {
        machines: 2000,
        memoryMiB: Math.min(memoryMiB, 8192),
        cpuMillis: 4000,
        pidsMax: 4096,
        memoryTotalMiB: 16 * memoryMiB,
        isolations: ["process"],
      },
      kept: keptDefaults(layout, memoryMiB, kept),
    },
    user.host,
  );
}

/** As images name our own; on one machine the engine reaches it where everybody does. */
function registryOf({ control }: UserConfig, { host, port }: Address): string {
  const given = (control.registry as { host?: unknown } | undefined)?.host;
  return typeof given === "string" ? given : `${isEverywhere(host) ? "127.0.0.1" : host}:${port}`;
}

const isEverywhere = (host: string) => host === "0.0.0.0" || host === "::" || host === "localhost";

/** A new one with every start of `up`. Returns its SHA-256. */
function makeProof(path: string): string {
  const proof = randomBytes(32).toString("base64url");
  writeFileSync(path, `${proof}\n`, { mode: 0o600 });
  return createHash("sha256").update(proof).digest("hex");
}

/** Writes both configs and returns their paths. They hold no secret, only hashes and places; one is made beside them. */
export function writeConfigs({
  layout,
  admin,
  address,
  databaseSocket,
  user,
  ingressPorts,
  names,
  insecure,
}: Wiring): {
  control: string;
  host: string;
  /** The API under its own name over TLS; null when nobody serves that, or at a port that is not known yet. */
  secureUrl: string | null;
  /** Port 22 of their addresses is to lead to instances. */
  sshRedirect: boolean;
} {
  const socket = layout.path("run", "link.sock");
  const proofFile = layout.path("keys", "ingress.proof");
  const control = overlay(
    {
      database:
        databaseSocket === null ? {} : { socket: databaseSocket, user: CONTROL_ROLE, name: "casemate" },
      link: { socket },
      folder: layout.path("control"),
      blobs: { folder: layout.path("blobs") },
      imagesFolder: imagesFolderOf(layout, user),
      registry: { host: registryOf(user, address) },
      instance: admin.instance,
      ...(names !== null && { names: nameServer(names, instancesZone(user, process.env)) }),
      operator: { keyHash: admin.hash, keyPrefix: admin.prefix },
    },
    overlay(
      {
        // The ingress on this machine, which says whom it speaks for; nobody else who has its address is believed.
        http: { ingressProofHash: layout.root ? makeProof(proofFile) : null },
      },
      overlay(handOver(user.control, layout), {
        http: { host: address.host, port: address.port, ...(insecure && { insecure }) },
      }),
    ),
  );
  const host = hostConfig({
    layout,
    meeting: { linkPath: socket },
    user,
    ingress: {
      ...{ host: "127.0.0.1", ...ingressPorts },
      // Where control has TLS of its own, or is not at our loopback, this entry has nothing to add.
      ...(address.tls || !NEAR.test(address.host)
        ? {}
        : {
            api: {
              domain: apiDomain(user, process.env),
              port: address.port,
              ...(layout.root && { proofFile }),
            },
          }),
    },
    registriesInside: [registryOf(user, address)],
  });
  const entry = (host.kept as { ingress?: { httpsPort?: number; api?: { domain: string } } } | null)?.ingress;
  const { api, httpsPort = 0 } = entry ?? {};
  const secureUrl =
    api === undefined || httpsPort === 0
      ? null
      : `https://${api.domain}${httpsPort === 443 ? "" : `:${httpsPort}`}`;
  const paths = { control: layout.path("config", "control.json"), host: layout.path("keys", "host.json") };
  writeFileSync(paths.control, `${JSON.stringify(control, null, 2)}\n`, { mode: 0o600 });
  writeFileSync(paths.host, `${JSON.stringify(host, null, 2)}\n`, { mode: 0o600 });
  if (layout.owners !== null) chownSync(paths.control, layout.owners.control.uid, layout.owners.control.gid);
  const { ssh } = (host.kept ?? {}) as { ssh?: { redirect?: boolean } | null };
  return { ...paths, secureUrl, sshRedirect: ssh?.redirect === true };
}

const nameServer = ({ address, port }: NamesPlace, zone: string): Tree => ({
  ...{ host: address, port },
  nameServers: [{ name: `ns.${zone}`, addresses: [address] }],
});
