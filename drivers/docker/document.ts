// SPDX-License-Identifier: Apache-2.0
/**
 * From the payload's document to the one that compose is given. Nothing of the client's is carried over
 * unread (service.ts, mounts.ts); what many machines on one engine need is added to it.
 *
 *  A. Every name that is the engine's and not the machine's is made from the machine's id: networks,
 *     their bridges, volumes, containers. `name:` is not taken over.
 *  B. Every network is a bridge of its own with a name that is known beforehand, so that the rules are
 *     there before the first packet (firewall.ts). Addresses are the engine's to choose: a client who
 *     could choose them would choose those of the operator's network.
 *  C. What is anonymous gets a name, also the folders that an image declares as volumes: containers are
 *     removed when a machine halts, and data that only a container knew would go with it.
 */
import { createHash } from "node:crypto";
import type { ComposePayload } from "#contract/link/payload.ts";
import type { ImageName } from "./image-name.ts";
import { bridgeOf, LABEL_INSTALLATION, LABEL_LEVEL, LABEL_MACHINE, LABEL_OWNER } from "./marks.ts";
import { FILES_ROOT, madeName, type Source } from "./mounts.ts";
import { isEmpty, isObject, type Json, type JsonObject, objectAt, refuse, stringAt } from "./refuse.ts";
import { baseOf, dependenciesOf, escapeDollars, type ReadService, readService } from "./service.ts";

const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024;
const SERVICES_MAX = 16;
const NETWORKS_MAX = 20;
const TOP = ["services", "networks", "volumes", "configs", "secrets", "version", "name"];
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$/;

export interface DocumentContext {
  machineId: string;
  owner: string;
  installation: string;
  labels: Record<string, string>;
  cpuMillis: number;
  pidsMax: number;
  /** What a container's own layer may grow to; 0 where the engine cannot hold it to anything. */
  layerMiB: number;
  cgroupParent: string;
  filesFolder: string;
  madeFolder: string;
  leash: string;
}

export interface PlannedService {
  name: string;
  image: ImageName;
  pullPolicy: string;
  /** Compose starts it: it has no profile, or another service needs it. */
  active: boolean;
  /** Another service waits until it has ended well. */
  awaitedEnd: boolean;
}

export interface MachineDocument {
  services: PlannedService[];
  bridges: string[];
  /** Files to be made from configs and secrets: name → text. */
  made: ReadonlyMap<string, string>;
  /** Docker takes one host port for one container only. */
  publicPortCanBeChosen: boolean;
  /** A service stands on another one of the document. */
  extendsItself: boolean;
  /** The document as JSON; `volumesOf` says which folders an image declares as volumes. */
  write(volumesOf: (image: ImageName) => string[], publicPort: number | null): string;
}

export function readDocument(payload: ComposePayload, context: DocumentContext): MachineDocument {
  const document = parse(payload.compose);
  const given = objectAt(document.services, "services");
  const names = Object.keys(given);
  if (names.length === 0 || names.length > SERVICES_MAX) refuse("services", `must be 1 to ${SERVICES_MAX}`);
  for (const name of names) if (!NAME.test(name)) refuse("services", "has a name that is not possible");
  if (!Object.hasOwn(given, payload.publicService)) refuse("services", "has no public service of that name");

  const ownLabels = {
    ...context.labels,
    [LABEL_OWNER]: context.owner,
    [LABEL_INSTALLATION]: context.installation,
    [LABEL_MACHINE]: context.machineId,
  };
  const networks = networksOf(document.networks, context, ownLabels);
  const volumes = volumesOf(document.volumes, ownLabels);
  const made = new Map<string, string>();
  const levels = levelsOf(given);
  const common = {
    ...context,
    uploaded: new Set(Object.keys(payload.files)),
    volumes: new Set(Object.keys(volumes)),
    networks: new Set(Object.keys(networks)),
    configs: sourcesOf("configs", document.configs, payload.env, made),
    secrets: sourcesOf("secrets", document.secrets, payload.env, made),
    services: given,
    env: payload.env,
  };
  const services = new Map<string, ReadService>();
  for (const name of names) {
    const labels = { ...ownLabels, [LABEL_LEVEL]: String(levels.get(name)) };
    services.set(name, readService(name, { ...common, labels }));
  }
  if (services.get(payload.publicService)!.body.network_mode !== undefined)
    refuse(`services.${payload.publicService}.network_mode`, "is not possible for the public service");

  const dependencies = names.flatMap((name) =>
    Object.entries(dependenciesOf(objectAt(given[name], name), `services.${name}`, given)),
  );
  const needed = new Set(dependencies.map(([name]) => name));
  const awaited = new Set(
    dependencies
      .filter(([, { condition }]) => condition === "service_completed_successfully")
      .map(([name]) => name),
  );
  return {
    services: [...services].map(([name, { image, pullPolicy, body }]) => ({
      name,
      active: needed.has(name) || !Array.isArray(body.profiles) || body.profiles.length === 0,
      image,
      pullPolicy,
      awaitedEnd: awaited.has(name),
    })),
    bridges: Object.keys(networks).map((name) => bridgeOf(context.owner, context.machineId, name)),
    made,
    extendsItself: names.some((name) => baseOf(name, given) !== null),
    publicPortCanBeChosen:
      services.get(payload.publicService)!.replicas <= 1 &&
      names.every((name) => baseOf(name, given) !== payload.publicService),
    write: (imageVolumes, port) => {
      const extra: JsonObject = {};
      const bodies: JsonObject = {};
      for (const [name, { body, image, replicas }] of services) {
        const ports = [`127.0.0.1:${port ?? ""}:${payload.publicPort}`];
        bodies[name] = {
          ...withRealPaths(body, context.filesFolder),
          volumes:
            replicas > 1
              ? (body.volumes as JsonObject[])
              : named(name, body, imageVolumes(image), (volume) => {
                  extra[volume] = { labels: ownLabels };
                }),
          ...(name === payload.publicService ? { ports } : {}),
        };
      }
      return JSON.stringify({ services: bodies, networks, volumes: { ...volumes, ...extra } });
    },
  };
}

function parse(text: string): JsonObject {
  if (Buffer.byteLength(text) > DOCUMENT_BYTES_MAX) refuse("the compose document", "is too large");
  let document: Json;
  try {
    document = JSON.parse(text);
  } catch {
    return refuse("the compose document", "is not JSON");
  }
  if (!isObject(document)) return refuse("the compose document", "must be a mapping");
  for (const key of Object.keys(document))
    if (!TOP.includes(key) && !key.startsWith("x-")) refuse(key, "is not possible on this host");
  return document;
}

/** B */
function networksOf(value: Json | undefined, context: DocumentContext, labels: JsonObject): JsonObject {
  const declared = { default: null, ...objectAt(value, "networks") };
  const names = Object.keys(declared);
  if (names.length > NETWORKS_MAX) refuse("networks", `must be at most ${NETWORKS_MAX}`);
  const result: JsonObject = {};
  for (const [name, each] of Object.entries(declared)) {
    const path = `networks.${name}`;
    if (!NAME.test(name)) refuse("networks", "has a name that is not possible");
    const network = objectAt(each, path);
    onlyKnown(network, path, ["name", "driver", "internal", "attachable", "enable_ipv6", "labels", "ipam"]);
    if (!isEmpty(network.ipam))
      refuse(`${path}.ipam`, "is not possible on this host, which chooses addresses itself");
    if (![undefined, null, "bridge", "default"].includes(network.driver as string))
      refuse(`${path}.driver`, "must be bridge");
    result[name] = {
      driver: "bridge",
      driver_opts: {
        "com.docker.network.bridge.name": bridgeOf(context.owner, context.machineId, name),
      },
      labels,
      ...(network.internal === true ? { internal: true } : {}),
    };
  }
  return result;
}

function volumesOf(value: Json | undefined, labels: JsonObject): JsonObject {
  const result: JsonObject = {};
  for (const [name, each] of Object.entries(objectAt(value, "volumes"))) {
    if (!NAME.test(name)) refuse("volumes", "has a name that is not possible");
    const volume = objectAt(each, `volumes.${name}`);
    onlyKnown(volume, `volumes.${name}`, ["name", "driver", "labels"]);
    if (![undefined, null, "local", "default"].includes(volume.driver as string))
      refuse(`volumes.${name}.driver`, "must be local");
    result[name] = { labels };
  }
  return result;
}

function onlyKnown(value: JsonObject, path: string, known: string[]): void {
  for (const [key, each] of Object.entries(value)) {
    if (known.includes(key) || key.startsWith("x-") || isEmpty(each) || each === false) continue;
    refuse(`${path}.${key}`, "is not possible on this host");
  }
}

function sourcesOf(
  kind: "configs" | "secrets",
  value: Json | undefined,
  env: Readonly<Record<string, string>>,
  made: Map<string, string>,
): Map<string, Source> {
  const result = new Map<string, Source>();
  for (const [name, each] of Object.entries(objectAt(value, kind))) {
    const path = `${kind}.${name}`;
    const source = objectAt(each, path);
    onlyKnown(source, path, ["name", "labels", "file", "environment", "content"]);
    if (source.file !== undefined) {
      result.set(name, { file: stringAt(source.file, path) });
      continue;
    }
    const text =
      source.environment === undefined
        ? stringAt(source.content, path).replaceAll("$$", "$")
        : (env[stringAt(source.environment, path)] ?? refuse(path, "needs a value that was not given"));
    made.set(madeName(kind, name), text);
    result.set(name, { made: text });
  }
  return result;
}

/** A service stands one above what it depends on. */
function levelsOf(services: JsonObject): Map<string, number> {
  const levels = new Map<string, number>();
  const levelOf = (name: string, above: readonly string[]): number => {
    if (above.includes(name)) refuse(`services.${name}.depends_on`, "goes in a circle");
    const known = levels.get(name);
    if (known !== undefined) return known;
    const path = `services.${name}`;
    const below = Object.keys(dependenciesOf(objectAt(services[name], path), path, services));
    const level = Math.max(0, ...below.map((each) => levelOf(each, [...above, name]) + 1));
    levels.set(name, level);
    return level;
  };
  for (const name of Object.keys(services)) levelOf(name, []);
  return levels;
}

/** C, but for services that run more than once: what is each one's own must not become one. */
function named(
  service: string,
  body: JsonObject,
  declared: string[],
  add: (volume: string) => void,
): JsonObject[] {
  const mounts = body.volumes as JsonObject[];
  const onMemory = (Array.isArray(body.tmpfs) ? body.tmpfs : [body.tmpfs]).map(
    (each) => `${each}`.split(":")[0],
  );
  const taken = new Set<Json | undefined>([...mounts.map((mount) => mount.target), ...onMemory]);
  const all = [
    ...mounts,
    ...declared.filter((target) => !taken.has(target)).map((target) => ({ type: "volume", target })),
  ];
  return all.map((mount: JsonObject) => {
    if (mount.type !== "volume" || mount.source !== undefined) return mount;
    const source = `unnamed-${createHash("sha256").update(`${service}\n${mount.target}`).digest("hex").slice(0, 16)}`;
    add(source);
    return { ...mount, source };
  });
}

/** The folder of the uploaded files may also be spoken of in a command or a value. */
function withRealPaths(value: JsonObject, folder: string): JsonObject {
  const replace = (each: Json): Json => {
    if (typeof each === "string") return each.replaceAll(FILES_ROOT, escapeDollars(folder));
    if (Array.isArray(each)) return each.map(replace);
    return isObject(each)
      ? Object.fromEntries(Object.entries(each).map(([key, of]) => [key, replace(of)]))
      : each;
  };
  return replace(value) as JsonObject;
}
