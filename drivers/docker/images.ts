// SPDX-License-Identifier: Apache-2.0
/**
 * Images, one after the other. The driver pulls them itself and gives each its own login along, so that
 * no password ever stands in a file and no compose program has one.
 *
 *  A. An image that is there is not pulled again, unless the service says `pull_policy: always`.
 *  B. What came with a login belongs to whoever can log in. The engine's store is one for all machines,
 *     so the repositories that were pulled with a login are written down, and another machine has to
 *     pull from them itself before it may run what is there.
 *  C. The engine speaks to registries from the host. A client who could name any host there would
 *     reach the host's own services and the operator's network, so only names that lead outside are
 *     taken, and those the operator listed. Between our look at a name and the engine's own, whoever
 *     runs the name's zone can change the answer, and a registry can send the engine on: this keeps out
 *     clients, and engine-egress.ts, where the operator asks for it, those.
 */
import { lookup } from "node:dns/promises";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { BlockList, isIP } from "node:net";
import { join } from "node:path";
import type Docker from "dockerode";
import type { ComposePayload } from "#contract/link/payload.ts";
import { DriverFault } from "../driver.ts";
import type { ResolvedImage } from "../kept-driver.ts";
import { statusCodeOf } from "./engine.ts";
import { type ImageName, registryKey } from "./image-name.ts";

/** Without a word from the registry for so long. */
const SILENCE_MS = 120_000;
const NAMES_MAX = 10_000;

export interface WantedImage {
  name: string;
  image: ImageName;
  pullPolicy: string;
}

export interface ImagesOptions {
  engine: Docker;
  folder: string;
  /** Registries inside that clients may name, as `host:port`. */
  registriesInside: ReadonlySet<string>;
  /** Makes sure that the engine reaches nothing inside. */
  beforePull(): Promise<void>;
}

export class Images {
  readonly #options: ImagesOptions;
  readonly #path: string;

  constructor(options: ImagesOptions) {
    this.#options = options;
    this.#path = join(options.folder, "images-with-login.json");
  }

  /** Answers with what each service's reference means now. */
  async provide(
    machineId: string,
    wanted: readonly WantedImage[],
    registries: ComposePayload["registries"],
    onProgress: (text: string) => void,
    signal: AbortSignal,
  ): Promise<ResolvedImage[]> {
    const done = new Set<string>();
    for (const { image, pullPolicy } of wanted) {
      if (done.has(image.full)) continue;
      signal.throwIfAborted();
      const there = await this.#isThere(image);
      const allowed = this.#allowed(image, machineId);
      if (pullPolicy === "never") {
        if (!there || !allowed) throw refused(image, "is not on this host, and is not to be pulled");
      } else if (!there || !allowed || pullPolicy === "always") {
        const login = registries.find((each) => registryKey(each.server) === image.registry);
        onProgress(`pulling ${image.short}`);
        await this.#pull(image, login, signal);
        onProgress(`pulled ${image.short}`);
        if (login !== undefined || !allowed) this.#remember(image, machineId);
      }
      done.add(image.full);
    }
    const resolved: ResolvedImage[] = [];
    for (const { name, image } of wanted)
      resolved.push({ service: name, reference: image.short, digest: await this.#digestOf(image) });
    return resolved;
  }

  /** As its registry calls it, or, of one that came from none, as the engine does. */
  async #digestOf(image: ImageName): Promise<string> {
    const { Id, RepoDigests } = await this.#options.engine.getImage(image.full).inspect();
    // The engine leaves out what it thinks goes without saying.
    const names = ["", "docker.io/", "docker.io/library/"]
      .filter((part) => image.repository.startsWith(part))
      .map((part) => image.repository.slice(part.length));
    const own = (RepoDigests ?? []).filter((each) => names.includes(each.split("@")[0]!));
    const asked = own.find((each) => image.full.endsWith(`@${each.split("@")[1]}`)) ?? own[0];
    return asked === undefined ? Id : `${names.at(-1)}@${asked.split("@")[1]}`;
  }

  /** The folders that an image declares as volumes. */
  async volumesOf(image: ImageName): Promise<string[]> {
    const { Config } = await this.#options.engine.getImage(image.full).inspect();
    return Object.keys(Config?.Volumes ?? {});
  }

  /** A machine that is removed has no more claim on anything. */
  forget(machineId: string): void {
    const known = this.#read();
    if (!Object.values(known).some((ids) => ids.includes(machineId))) return;
    this.#write(
      Object.fromEntries(
        Object.entries(known).map(([name, ids]) => [name, ids.filter((id) => id !== machineId)]),
      ),
    );
  }

  async #isThere(image: ImageName): Promise<boolean> {
    try {
      await this.#options.engine.getImage(image.full).inspect();
      return true;
    } catch (error) {
      if (statusCodeOf(error) === 404) return false;
      throw error;
    }
  }

  async #pull(
    image: ImageName,
    login: ComposePayload["registries"][number] | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#mustLeadOutside(image);
    await this.#options.beforePull();
    const silent = new AbortController();
    const abortSignal = AbortSignal.any([signal, silent.signal]);
    let late = setTimeout(() => silent.abort(), SILENCE_MS);
    try {
      const authconfig =
        login === undefined
          ? {}
          : {
              authconfig: { username: login.username, password: login.password, serveraddress: login.server },
            };
      const stream = await this.#options.engine.pull(image.full, { ...authconfig, abortSignal });
      let fault: string | null = null;
      let rest = "";
      for await (const chunk of stream) {
        clearTimeout(late);
        late = setTimeout(() => silent.abort(), SILENCE_MS);
        const lines = (rest + String(chunk)).split("\n");
        rest = lines.pop()!.slice(-65_536);
        for (const line of lines) fault ??= faultIn(line);
      }
      fault ??= faultIn(rest);
      if (fault !== null) throw refused(image, `cannot be pulled: ${fault}`);
    } catch (error) {
      if (error instanceof DriverFault) throw error;
      signal.throwIfAborted();
      if (silent.signal.aborted) throw refused(image, "cannot be pulled: the registry does not answer");
      throw refused(image, `cannot be pulled: ${messageOf(error)}`);
    } finally {
      clearTimeout(late);
    }
  }

  /** C */
  async #mustLeadOutside(image: ImageName): Promise<void> {
    if (this.#options.registriesInside.has(image.registry) || image.registry === "docker.io") return;
    const host = image.registry.replace(/:\d+$/, "");
    const addresses = isIP(host) !== 0 ? [host] : await addressesOf(host);
    if (addresses.some((address) => isInside(address)))
      throw refused(image, "is at a registry that this host does not speak to");
  }

  #allowed(image: ImageName, machineId: string): boolean {
    return this.#read()[image.repository]?.includes(machineId) ?? true;
  }

  /** B */
  #remember(image: ImageName, machineId: string): void {
    const known = this.#read();
    const ids = new Set([...(known[image.repository] ?? []), machineId]);
    this.#write({ ...known, [image.repository]: [...ids].slice(-NAMES_MAX) });
  }

  #read(): Record<string, string[]> {
    try {
      return JSON.parse(readFileSync(this.#path, "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
      throw error;
    }
  }

  #write(known: Record<string, string[]>): void {
    writeFileSync(`${this.#path}.new`, JSON.stringify(known), { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
  }
}

const refused = (image: ImageName, why: string) =>
  new DriverFault("machine.start-failed", `image ${image.short} ${why}`.slice(0, 500));

function faultIn(line: string): string | null {
  if (line.trim() === "") return null;
  const { error } = JSON.parse(line) as { error?: unknown };
  return typeof error === "string" ? error : null;
}

const messageOf = (error: unknown) => {
  const { json, message } = error as { json?: { message?: string }; message?: string };
  return json?.message ?? message ?? "the engine refused";
};

/** A name that does not resolve here is the engine's to fail on. */
async function addressesOf(host: string): Promise<string[]> {
  if (host === "localhost" || host.endsWith(".localhost")) return ["127.0.0.1"];
  return (await lookup(host, { all: true }).catch(() => [])).map(({ address }) => address);
}

const INSIDE = new BlockList();
for (const [network, prefix] of [
  ...([
    ["0.0.0.0", 8],
    ["10.0.0.0", 8],
    ["100.64.0.0", 10],
    ["127.0.0.0", 8],
    ["168.63.129.16", 32],
    ["169.254.0.0", 16],
    ["192.0.0.0", 24],
  ] as const),
  ...([
    ["172.16.0.0", 12],
    ["192.168.0.0", 16],
    ["198.18.0.0", 15],
    ["224.0.0.0", 3],
  ] as const),
])
  INSIDE.addSubnet(network, prefix, "ipv4");
for (const [network, prefix] of [
  ...([
    ["::", 127],
    ["64:ff9b::", 96],
    ["fc00::", 7],
    ["fe80::", 10],
    ["ff00::", 8],
  ] as const),
])
  INSIDE.addSubnet(network, prefix, "ipv6");

/** An IPv4 address in IPv6 clothes is looked at as what it is, by BlockList itself. */
const isInside = (address: string) => INSIDE.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
