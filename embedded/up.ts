// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate up`: the whole installation on one machine. Three processes besides this one, as on any
 * number of machines: PostgreSQL, control (its own uid, no privileges), host (the one with privileges). With
 * `--with-edge` a fourth, an edge agent for a look at it.
 * This process holds no secret after start but the operator's key file's hash, and only restarts what
 * died.
 */
import type { ChildProcess } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findProgram, spawnPart } from "#confine/spawn.ts";
import { type AdminKey, openAdminKey } from "./admin-key.ts";
import { askOwn } from "./ask-own.ts";
import {
  type Address,
  addressOf,
  imagesFolderOf,
  imagesOf,
  ingressPortsHere,
  instancesZone,
  needsNames,
  readUserConfig,
  type UserConfig,
  usesOwnServer,
  writeConfigs,
} from "./config.ts";
import { startDatabase } from "./database.ts";
import { type Demo, startDemo } from "./demo/demo.ts";
import { HOST_GRACE_MS, passedOn, startHost } from "./host.ts";
import { keepImages } from "./images/keep.ts";
import { type Layout, prepareLayout } from "./layout.ts";
import { lockFolder } from "./lock.ts";
import { openLogFile } from "./log-file.ts";
import { findNamesPlace, forgetNames, leadNames } from "./names/place.ts";
import { resolverOf } from "./names/resolver.ts";
import { keepRunning, type Part } from "./part.ts";
import { checkRelease } from "./release.ts";
import { keepReserve, type Reserve } from "./reserve.ts";
import { welcome } from "./welcome.ts";
import { withoutRoot } from "./without-root.ts";

const ROOT = dirname(dirname(new URL(import.meta.url).pathname));
const CONTROL_GRACE_MS = 10_000;
const EDGE_GRACE_MS = 5_000;
const RESTART_MS = 500;
const RESTART_MOST_MS = 2_000;
const READY_MS = 180_000;
/** Control's exit codes when its port is taken, and when its configuration is wrong. */
const PORT_IN_USE = 98;
const WRONG_CONFIG = 78;

export interface UpOptions {
  state: string;
  port: number | null;
  configFile: string | null;
  /** Plain HTTP also on an address that others reach. */
  insecure: boolean;
  json: boolean;
  /** With a demo device beside it. */
  withEdge: boolean;
  /** Aborted when the start is no longer wanted. */
  signal: AbortSignal;
}

export interface RunningUp {
  url: string;
  /** Asks the host for a new issuer key; proofs made before keep verifying. */
  rotateIssuer(): void;
  stop(): Promise<void>;
}

export async function up(
  options: UpOptions,
  print: (line: string) => void,
  warn: (line: string) => void,
): Promise<RunningUp> {
  const user = readUserConfig(options.configFile);
  const layout = prepareLayout(options.state);
  const lock = lockFolder(layout.path("lock"));
  const undo: (() => Promise<void> | void)[] = [() => lock.release()];
  const stop = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    checkRelease(layout.path("version"));
    if (layout.root && findProgram("bwrap") === null) {
      throw new Error(
        "bubblewrap is missing, and as root nothing starts unconfined: apt-get install -y bubblewrap",
      );
    }
    if (!layout.root) for (const line of withoutRoot(process.getuid?.() ?? 0)) warn(line);
    const imagesChoice = imagesOf(user, process.env);
    let imagesEnd: Promise<void> | null = null;
    // While the others end: it may have much to take away.
    undo.push(() => imagesEnd ?? undefined);
    const admin = openAdminKey(layout.path("admin.key"));
    const database = usesOwnServer(user) ? null : await keepDatabase(layout, warn);
    if (database !== null) undo.push(() => database.stop());
    const address = addressOf(options.port, user, process.env);
    if (options.withEdge && address.tls)
      throw new Error("--with-edge speaks plain HTTP to this machine, and control.http.tls is set");
    const databaseSocket = database?.host ?? null;
    const { insecure } = options;
    const names = needsNames(layout, user, process.env) ? await findNamesPlace(layout.state) : null;
    const wiring = { layout, admin, address, databaseSocket, user, names, insecure };
    let configs = writeConfigs({ ...wiring, ingressPorts: await ingressPortsHere() });
    let fault: string | null = null;
    const failed = () => fault;
    let control: ReturnType<typeof startControl> | null = null;
    const reserve = await keepReserve(layout.state, (low) => {
      warn(
        low ? `less than 16 MiB free for ${layout.state}: no new work is taken` : "room again: taking work",
      );
      control?.tellRoom(low);
    });
    undo.push(() => reserve.stop());
    control = startControl(
      ...([layout, user, configs.control, databaseSocket, reserve] as const),
      () => {
        fault = `${address.host}:${address.port} is in use by another program; give another --port`;
      },
      (words) => {
        fault = words;
      },
      warn,
    );
    undo.push(() => control?.stop(CONTROL_GRACE_MS));
    undo.push(() => layout.clear());
    const host = startHost(layout, user, configs.host, warn, async () => {
      configs = writeConfigs({ ...wiring, ingressPorts: await ingressPortsHere() });
    });
    undo.push(() => host.stop(HOST_GRACE_MS));
    const url = await ready(layout, address, admin.instance, failed, options.signal);
    // Where the other commands find this installation; it holds no secret.
    writeFileSync(layout.path("running.json"), `${JSON.stringify({ url, pid: process.pid })}\n`);
    undo.push(() => rmSync(layout.path("running.json"), { force: true }));
    // After it is there: until then the port might have been somebody else's.
    const led = names !== null && (await leadNames(layout.state, names));
    if (led) undo.push(async () => void (await forgetNames(layout.state)));
    const zone = instancesZone(user, process.env);
    const resolver = led && configs.sshRedirect ? resolverOf(names.address, zone) : null;
    const demo = options.withEdge ? await withEdge(options, url, layout, admin, user, warn, undo) : null;
    for (const line of await welcome({
      ...{ url, layout, admin, json: options.json, demo, byName: names && { zone, resolver } },
      secureUrl: configs.secureUrl,
    }))
      print(line);
    // Not before: the signer that signs them makes its key with the host's first start.
    const images = keepImages(layout, imagesChoice, warn);
    undo.push(() => {
      imagesEnd = images.stop();
    });
    const rotateIssuer = () => {
      const pid = host.pid();
      if (pid !== undefined) process.kill(pid, "SIGUSR2");
    };
    return { url, rotateIssuer, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What is only shown keeps nothing else from running. */
async function withEdge(
  { signal }: UpOptions,
  url: string,
  layout: Layout,
  admin: AdminKey,
  user: UserConfig,
  warn: (line: string) => void,
  undo: (() => Promise<void> | void)[],
): Promise<Demo | null> {
  try {
    const { part, demo } = await startDemo({ url, layout, adminKey: admin.key, user, signal, warn });
    undo.push(() => part.stop(EDGE_GRACE_MS));
    return demo;
  } catch (error) {
    signal.throwIfAborted();
    warn(`no demo device: ${error instanceof Error ? error.message : error}`);
    return null;
  }
}

/** The database, started again when it dies: it recovers by itself, and control reconnects. */
async function keepDatabase(
  layout: Layout,
  warn: (line: string) => void,
): Promise<{ host: string; stop(): Promise<void> }> {
  let server = await startDatabase(layout);
  let stopping = false;
  const stop = new AbortController();
  /** For as long as it takes: what keeps it down, a full disk above all, may end without a restart of ours. */
  const again = async () => {
    for (let waitMs = RESTART_MS; !stopping; waitMs = Math.min(2 * waitMs, RESTART_MOST_MS)) {
      await sleep(waitMs, undefined, { signal: stop.signal }).catch(() => {});
      if (stopping) return;
      try {
        server = await startDatabase(layout);
        return;
      } catch (error) {
        warn(`PostgreSQL does not start: ${error instanceof Error ? error.message : error}`);
      }
    }
  };
  const life = (async () => {
    for (;;) {
      const code = await server.exited;
      if (stopping) return;
      warn(`PostgreSQL died (${code}), starting it again`);
      await again();
    }
  })();
  return {
    host: server.host,
    stop: async () => {
      stopping = true;
      stop.abort();
      await server.stop();
      await life;
      // One that was being started meanwhile is not the one that was stopped.
      await server.stop();
    },
  };
}

function startControl(
  layout: Layout,
  user: UserConfig,
  config: string,
  databaseSocket: string | null,
  reserve: Reserve,
  onPortInUse: () => void,
  onWrongConfig: (words: string) => void,
  warn: (line: string) => void,
): Part & { tellRoom(low: boolean): void } {
  const log = openLogFile(layout.path("logs", "control.log"), user.logs);
  let child: ChildProcess | null = null;
  // Over its standard input, which it watches anyway: nothing has to be written to a disk that is full.
  const tellRoom = (low: boolean) => {
    child?.stdin?.write(low ? "room low\n" : "room again\n");
  };
  const part = keepRunning({
    name: "control",
    log,
    spawn: () => {
      child = spawnPart({
        command: process.execPath,
        args: ["--disable-warning=ExperimentalWarning", `${ROOT}/control/src/main.ts`, config],
        env: passedOn(),
        cwd: ROOT,
        confinement:
          layout.owners === null
            ? null
            : {
                ...layout.owners.control,
                readable: [ROOT, layout.path("config"), imagesFolderOf(layout, user), databaseSocket].filter(
                  (path) => path !== null,
                ),
                // The default state folder lies inside the program's.
                hidden: [layout.state],
                writable: [layout.path("control"), layout.path("blobs"), layout.path("run")],
                ownProcesses: true,
              },
        stdio: ["pipe", "pipe", "pipe"],
      });
      tellRoom(reserve.low());
      return child;
    },
    onDeath: (name, code, signal, lastLine) => {
      if (code === PORT_IN_USE) onPortInUse();
      if (code === WRONG_CONFIG) {
        onWrongConfig(lastLine);
        return false;
      }
      warn(`${name} died (${signal ?? code}), starting it again: ${lastLine}`);
      return true;
    },
  });
  return { ...part, tellRoom };
}

/** Waits for this installation's control, which proves itself by a word only we two know. */
async function ready(
  layout: Layout,
  address: Address,
  instance: string,
  failed: () => string | null,
  signal: AbortSignal,
): Promise<string> {
  const everywhere: Record<string, string> = { "0.0.0.0": "127.0.0.1", "::": "::1" };
  const host = everywhere[address.host] ?? address.host;
  const scheme = address.tls ? "https" : "http";
  const url = `${scheme}://${host.includes(":") ? `[${host}]` : host}:${address.port}`;
  const deadline = Date.now() + READY_MS;
  for (;;) {
    const answer = await askOwn(`${url}/readyz`);
    if (answer?.status === 200 && answer.headers["x-casemate-instance"] === instance) return url;
    signal.throwIfAborted();
    const fault = failed();
    if (fault !== null) throw new Error(fault);
    if (Date.now() > deadline) throw new Error(`no answer from ${url}/readyz; see ${layout.path("logs")}`);
    await sleep(50);
  }
}
