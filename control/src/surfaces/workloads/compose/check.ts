// SPDX-License-Identifier: Apache-2.0
/**
 * The compose policy: a client's docker-compose text becomes a checked plan, or everything that is
 * wrong with it. The attacker is the tenant who writes the text, his environment and the names of his
 * files, and who wants something of the host: a path, a device, a namespace, an address, a port of the
 * ingress, another tenant's volume.
 *
 *  A. What Docker gets is written here, member by member, from what was read and found allowed. Nothing
 *     of the text is copied.
 *  B. Variables are replaced before the checks, and every dollar sign of the outcome is escaped, so
 *     Docker's own replacing changes nothing.
 *  C. No finding says a value (findings.ts).
 */
import { FILES_ROOT, foldersOf } from "./files.ts";
import { Findings, memberPath, type Violation } from "./findings.ts";
import { isPinned } from "./image.ts";
import { isName, isReservedService, NAME_RULE } from "./names.ts";
import { type Json, Place, type Sheet } from "./place.ts";
import { readConfig, readSecret } from "./secrets.ts";
import { readService } from "./service.ts";
import { CHARACTERS_MAX, type Entry, type Item, readSource } from "./source.ts";
import { readNetwork, readVolume } from "./volumes.ts";

export { FILES_ROOT } from "./files.ts";
export type { Violation } from "./findings.ts";

export interface ComposeAsk {
  text: string;
  /** Names of the uploaded files, as `checkFileName` lets them pass. */
  files: readonly string[];
  /** The client's variables, as `checkEnvironment` lets them pass. */
  env: Readonly<Record<string, string>>;
  /** What the platform sets: NILCC_VERSION, NILCC_VM_TYPE, NILCC_DOMAIN. Goes before `env`. */
  platform?: Readonly<Record<string, string>>;
  /** How many GPUs the machine has; none unless said. */
  gpus?: number;
  publicContainerName: string;
  publicContainerPort: number;
}

export interface ComposePlan {
  /**
   * What Docker will be given (through `composeText`), before the driver adds limits, labels and ports
   * of its own. Dollar signs are escaped; uploads begin with FILES_ROOT.
   */
  document: Record<string, unknown>;
  services: string[];
  images: { service: string; image: string; pinned: boolean }[];
  volumes: string[];
}

export type ComposeVerdict =
  | { ok: true; plan: ComposePlan; warnings: Violation[] }
  | { ok: false; violations: Violation[]; warnings: Violation[] };

/** Each container costs the host a process of its own, whatever its limits say. */
export const SERVICES_MAX = 16;
export const VOLUMES_MAX = 64;

export function checkCompose(ask: ComposeAsk): ComposeVerdict {
  const findings = new Findings();
  const root = readSource(ask.text, findings);
  const plan = root === null ? null : readDocument(root, ask, findings);
  const { violations, warnings } = findings;
  if (violations.length > 0 || plan === null) return { ok: false, violations: inOrder(violations), warnings };
  return { ok: true, plan, warnings: inOrder(warnings) };
}

const SECTIONS = ["services", "networks", "volumes", "configs", "secrets"] as const;
type Section = (typeof SECTIONS)[number];

function readDocument(root: Item, ask: ComposeAsk, findings: Findings): ComposePlan | null {
  if (root.kind !== "map") {
    findings.refuse("", root.line, "The document must be a map with `services`.");
    return null;
  }
  checkTop(root.entries, findings);
  const sections = new Map(SECTIONS.map((name) => [name, sectionOf(root.entries, name, findings)]));
  const sheet = sheetOf(ask, sections, findings);
  const document: Record<string, Json> = {};
  for (const name of SECTIONS) {
    const section = sections.get(name);
    if (section === undefined || (section.size === 0 && name !== "services")) continue;
    document[name] = readSection(name, section, sheet);
  }
  const services = sections.get("services")!;
  const line = root.entries.get("services")?.line ?? root.line;
  if (services.size === 0) findings.refuse("services", line, "The document needs at least one service.");
  checkChains(services, document.services as Record<string, Json>, findings);
  checkPublic(ask, line, document.services as Record<string, Json>, findings);
  if (findings.violations.length > 0) return null;
  return {
    images: imagesOf(document.services as Record<string, Json>),
    document: escapeDollars(document) as Record<string, unknown>,
    services: [...services.keys()],
    volumes: [...(sections.get("volumes")?.keys() ?? [])],
  };
}

const TOP_REFUSED: ReadonlyMap<string, string> = new Map([
  ["include", "Other files cannot be included; there are none."],
  ["models", "Models are not started by this document."],
]);

function checkTop(entries: ReadonlyMap<string, Entry>, findings: Findings): void {
  for (const [key, { line, item }] of entries) {
    if ((SECTIONS as readonly string[]).includes(key) || key.startsWith("x-")) continue;
    if (key === "name" || key === "version") {
      const known = item.kind === "text" || (key === "version" && item.kind === "number");
      if (!known && item.kind !== "null") findings.refuse(key, line, "This must be a string.");
      const why = key === "name" ? "The platform names the project itself" : "This has no meaning any more";
      findings.warn(key, line, `${why}; it is left out.`);
      continue;
    }
    const why = TOP_REFUSED.get(key) ?? "This key is not known, or not allowed here.";
    findings.refuse(memberPath("", key), line, why);
  }
}

/** The entries of a section whose names are good; none when there is no such section. */
function sectionOf(root: ReadonlyMap<string, Entry>, name: Section, findings: Findings): Map<string, Entry> {
  const section = root.get(name);
  const entries = new Map<string, Entry>();
  if (section === undefined || section.item.kind === "null") return entries;
  if (section.item.kind !== "map") {
    findings.refuse(name, section.line, "This must be a map.");
    return entries;
  }
  for (const [key, entry] of section.item.entries) {
    // Docker takes an extension here too, but one that looks like a service was meant as one.
    const path = memberPath(name, key);
    if (key.startsWith("x-") && name !== "services") continue;
    if (!isName(key)) findings.refuse(path, entry.line, NAME_RULE);
    else if (name === "services" && isReservedService(key)) {
      findings.refuse(path, entry.line, "This name is reserved for the platform's own services.");
    }
    entries.set(key, entry);
  }
  const max = name === "services" ? SERVICES_MAX : VOLUMES_MAX;
  if (entries.size > max) findings.refuse(name, section.line, `There can be ${max} ${name} at most.`);
  return entries;
}

function sheetOf(
  ask: ComposeAsk,
  sections: ReadonlyMap<Section, Map<string, Entry>>,
  findings: Findings,
): Sheet {
  const given = new Map(Object.entries(ask.env));
  for (const [name, value] of Object.entries(ask.platform ?? {})) given.set(name, value);
  given.set("FILES", FILES_ROOT);
  const names = (section: Section): ReadonlySet<string> => new Set(sections.get(section)?.keys() ?? []);
  return {
    findings,
    lookup: (name) => given.get(name),
    allowance: { left: 2 * CHARACTERS_MAX },
    declared: {
      services: names("services"),
      networks: names("networks"),
      volumes: names("volumes"),
      configs: names("configs"),
      secrets: names("secrets"),
    },
    files: new Set(ask.files),
    folders: foldersOf(ask.files),
    env: new Set(Object.keys(ask.env)),
    gpus: ask.gpus ?? 0,
    published: 0,
  };
}

const READERS = {
  services: readService,
  networks: readNetwork,
  volumes: readVolume,
  configs: readConfig,
  secrets: readSecret,
} as const;

function readSection(
  name: Section,
  entries: ReadonlyMap<string, Entry>,
  sheet: Sheet,
): { [key: string]: Json } {
  const out: { [key: string]: Json } = {};
  for (const [key, { line, item }] of entries) {
    const value = READERS[name](new Place(sheet, memberPath(name, key), line, item));
    if (value !== undefined) out[key] = value;
  }
  return out;
}

type Services = Readonly<Record<string, Json>>;
const serviceOf = (services: Services, name: string) =>
  (Object.hasOwn(services, name) ? services[name] : undefined) as { [key: string]: Json } | undefined;
const baseOf = (services: Services, name: string) =>
  (serviceOf(services, name)?.extends as { service?: string } | undefined)?.service;

/** A service and what it extends, nearest first; stops where it would go round. */
function* chain(services: Services, name: string): Generator<string> {
  const seen = new Set<string>();
  for (let at: string | undefined = name; at !== undefined && !seen.has(at); at = baseOf(services, at)) {
    seen.add(at);
    yield at;
  }
}

/** What a service names directly or through what it extends. */
function inherited(services: Services, name: string, member: string): Json | undefined {
  for (const one of chain(services, name)) {
    const value = serviceOf(services, one)?.[member];
    if (value !== undefined) return value;
  }
  return undefined;
}

/** That every service has an image, and nothing extends or waits for itself. */
function checkChains(entries: ReadonlyMap<string, Entry>, services: Services, findings: Findings): void {
  for (const [name, { line, item }] of entries) {
    const path = memberPath("services", name);
    const last = [...chain(services, name)].at(-1)!;
    if (baseOf(services, last) !== undefined) {
      findings.refuse(`${path}.extends`, line, "A service cannot extend itself, even through others.");
    } else if (item.kind === "map" && !declaresImage(entries, services, name)) {
      findings.refuse(path, line, "A service needs an image.");
    }
    if (waitsForItself(services, name)) {
      findings.refuse(
        `${path}.depends_on`,
        line,
        "A service cannot wait for itself, even through others (depends_on, links, service:…).",
      );
    }
  }
}

/** Whether an image was written down, be it a wrong one: that was said where it stands. */
function declaresImage(entries: ReadonlyMap<string, Entry>, services: Services, name: string): boolean {
  for (const one of chain(services, name)) {
    const item = entries.get(one)?.item;
    if (item?.kind !== "map") continue;
    const image = item.entries.get("image");
    if (image !== undefined && image.item.kind !== "null") return true;
    // Only a base that could be read can be followed.
    if (item.entries.has("extends") && baseOf(services, one) === undefined) return true;
    if (item.entries.has("build") || item.entries.has("provider")) return true;
  }
  return false;
}

/** What Docker must start before a service. */
function dependenciesOf(services: Services, name: string): string[] {
  const { depends_on: named, links, network_mode, pid, ipc } = serviceOf(services, name) ?? {};
  const strings = (value: Json | undefined) => (Array.isArray(value) ? (value as string[]) : []);
  const shared = [network_mode, pid, ipc].flatMap((mode) =>
    typeof mode === "string" && mode.startsWith("service:") ? [mode.slice("service:".length)] : [],
  );
  const waits =
    typeof named === "object" && named !== null && !Array.isArray(named) ? Object.keys(named) : [];
  return [...strings(named), ...waits, ...strings(links).map((link) => link.split(":")[0]!), ...shared];
}

function waitsForItself(services: Services, name: string): boolean {
  const seen = new Set<string>();
  const open = [name];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const next of dependenciesOf(services, at)) {
      if (next === name) return true;
      if (!seen.has(next)) {
        seen.add(next);
        open.push(next);
      }
    }
  }
  return false;
}

/** The public container is one of the services, is started, and has a network to be reached by. */
function checkPublic(ask: ComposeAsk, line: number, services: Services, findings: Findings): void {
  const { publicContainerName: name, publicContainerPort: port } = ask;
  const refuse = (path: string, message: string) => findings.refuse(path, line, message);
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    refuse("publicContainerPort", "The public container's port must be from 1 to 65535.");
  }
  if (!Object.hasOwn(services, name)) {
    refuse("publicContainerName", "The document has no service of the public container's name.");
    return;
  }
  const profiles = inherited(services, name, "profiles");
  if (Array.isArray(profiles) && profiles.length > 0) {
    refuse("publicContainerName", "The public container's service is in a profile and would not be started.");
  }
  const deploy = inherited(services, name, "deploy") as { replicas?: number } | undefined;
  if (((inherited(services, name, "scale") as number | undefined) ?? deploy?.replicas ?? 1) > 1) {
    // Each would be given a port by Docker, and another one with every restart.
    refuse("publicContainerName", "The public container's service can have one container only.");
  }
  if (inherited(services, name, "network_mode") === "none") {
    refuse("publicContainerName", "The public container's service has no network to be reached by.");
  }
}

function imagesOf(services: Services): ComposePlan["images"] {
  return Object.keys(services).map((service) => {
    const image = inherited(services, service, "image") as string;
    return { service, image, pinned: isPinned(image) };
  });
}

/** Invariant B. Keys hold no dollar sign (source.ts, names.ts). */
function escapeDollars(value: Json): Json {
  if (typeof value === "string") return value.replaceAll("$", "$$$$");
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(escapeDollars);
  const out: { [key: string]: Json } = {};
  for (const [key, inner] of Object.entries(value)) out[key] = escapeDollars(inner);
  return out;
}

const inOrder = (found: Violation[]) => found.toSorted((a, b) => a.line - b.line);
