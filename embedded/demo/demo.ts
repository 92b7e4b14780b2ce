// SPDX-License-Identifier: Apache-2.0
/**
 * `up --with-edge`: the edge agent as it would run at a site, beside everything else: a process of its own,
 * with a uid of its own (as root) that sees its own folder and the pictures. It comes in with a
 * registration token, once; what it is let in as stays in its folder.
 *
 *     <state>/edge/                    the agent's                     uid edge
 *             demo/                    a model and pictures            the caller
 *             keys/demo-client.json    the demo tenant's client        the caller, 0600
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { spawnPart } from "#confine/spawn.ts";
import type { UserConfig } from "../config.ts";
import { passedOn } from "../host.ts";
import type { Layout } from "../layout.ts";
import { openLogFile } from "../log-file.ts";
import { keepRunning, type Part } from "../part.ts";
import * as tenant from "./tenant.ts";

const ROOT = dirname(dirname(dirname(new URL(import.meta.url).pathname)));
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const IDENTITY_BYTES_MAX = 64 * 1024;
/** Of a machine with much to do; nothing here is waited for without a reason. */
const SET_UP_MS = 180_000;
const MODEL_MS = 120_000;
const TRIAL = ["--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--", "true"];
const MAKE_MS = 30_000;
const POLL_MS = 100;
const MEMORY_MIB = 1024;

export interface DemoOptions {
  url: string;
  layout: Layout;
  adminKey: string;
  user: UserConfig;
  signal: AbortSignal;
  warn(line: string): void;
}

/** What there is to look at. */
export interface Demo {
  clientFile: string;
  log: string;
  system: string;
  device: string;
  /** Null: none can be run here. */
  model: string | null;
}

export async function startDemo(options: DemoOptions): Promise<{ part: Part; demo: Demo }> {
  const { url, layout, adminKey, user, warn } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(SET_UP_MS)]);
  const clientFile = layout.path("keys", "demo-client.json");
  makeFolders(layout);
  const call = await tenant.enterTenant({ url, adminKey, clientFile, signal });
  const system = await tenant.site(call);
  const wordFile = await prepareEntry(layout, call, system);
  const log = layout.path("logs", "edge.log");
  const part = startAgent({ layout, url, system, wordFile, log, user, warn });
  try {
    const server = await entered(layout, signal);
    rmSync(wordFile, { force: true });
    const { id: device, fresh } = await tenant.camera(call, server);
    const model = await bringModel(call, layout, signal).catch((error: Error) => {
      warn(`the demo device has no model: ${error.message}`);
      return null;
    });
    // Later on it runs whatever somebody made it run.
    if (fresh && model !== null) await tenant.assign(call, device, model, signal);
    return { part, demo: { clientFile, log, system, device, model } };
  } catch (error) {
    await part.stop(0);
    throw error;
  }
}

/** Control converts no model that it cannot confine, and would wait for the day on which it can. */
async function bringModel(call: tenant.Call, layout: Layout, signal: AbortSignal): Promise<string> {
  if (spawnSync("bwrap", TRIAL).status !== 0)
    throw new Error("bubblewrap makes no user namespaces here, and models are converted behind walls only");
  const soon = AbortSignal.any([signal, AbortSignal.timeout(MODEL_MS)]);
  return tenant.model(call, layout.path("demo", "model.onnx"), soon).catch((error) => {
    if (soon.aborted) throw new Error("none was converted so far; see logs/control.log", { cause: error });
    throw error;
  });
}

/** The README's model and pictures, made by the README's own program. */
function makeFolders(layout: Layout): void {
  const own = layout.path("edge");
  mkdirSync(own, { recursive: true, mode: 0o700 });
  if (layout.owners !== null) chownSync(own, layout.owners.edge.uid, layout.owners.edge.gid);
  const folder = layout.path("demo");
  if (existsSync(join(folder, "made"))) return;
  const program = join(ROOT, "examples", "first-model.ts");
  const { status, stderr } = spawnSync(process.execPath, [program, folder], {
    ...{ env: passedOn(), cwd: ROOT, encoding: "utf8", timeout: MAKE_MS },
  });
  if (status !== 0) throw new Error(`the pictures cannot be made: ${stderr.trim().split("\n").at(-1)}`);
  // Read by another uid, whatever the mask of who started us is.
  chmodSync(join(folder, "pictures"), 0o755);
  for (const name of readdirSync(join(folder, "pictures"))) chmodSync(join(folder, "pictures", name), 0o644);
  writeFileSync(join(folder, "made"), "");
}

/** As which server it is in. The folder is the agent's: what lies there is read as a stranger's. */
function serverOf(layout: Layout): string | null {
  let fd: number;
  try {
    fd = openSync(layout.path("edge", "identity.json"), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    const part = Buffer.alloc(IDENTITY_BYTES_MAX);
    const text = part.toString("utf8", 0, readSync(fd, part));
    return /"serverId":"([0-9a-f-]{36})"/.exec(text)?.[1] ?? null;
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** A word for the agent, unless it is in. A server that was put out comes in anew, as another one. */
async function prepareEntry(layout: Layout, call: tenant.Call, system: string): Promise<string> {
  const wordFile = layout.path("edge", "registration.token");
  const server = serverOf(layout);
  if (server !== null) {
    const { status } = await call("GET", `/dev/server/${server}`);
    if (status === 200) return wordFile;
    for (const name of ["identity.json", "server.json", "wish.json"])
      rmSync(layout.path("edge", name), { force: true });
  }
  rmSync(wordFile, { force: true });
  const word = await tenant.registrationToken(call, system);
  // By its descriptor: nobody in that folder leads us to another file.
  const fd = openSync(wordFile, "wx", 0o600);
  writeSync(fd, `${word}\n`);
  if (layout.owners !== null) fchownSync(fd, layout.owners.edge.uid, layout.owners.edge.gid);
  closeSync(fd);
  return wordFile;
}

async function entered(layout: Layout, signal: AbortSignal): Promise<string> {
  for (;;) {
    const server = serverOf(layout);
    if (server !== null) return server;
    await sleep(POLL_MS, undefined, { signal });
  }
}

interface AgentPlan extends Pick<DemoOptions, "layout" | "url" | "user" | "warn"> {
  system: string;
  wordFile: string;
  log: string;
}

function startAgent({ layout, url, system, wordFile, log, user, warn }: AgentPlan): Part {
  const [own, pictures] = [layout.path("edge"), layout.path("demo", "pictures")];
  return keepRunning({
    name: "edge",
    log: openLogFile(log, user.logs),
    spawn: () =>
      spawnPart({
        command: process.execPath,
        args: [
          ...["--disable-warning=ExperimentalWarning", join(ROOT, "edge", "main.ts")],
          ...["--url", url, "--site", system, "--token", `@${wordFile}`, "--name", "Demo server"],
          ...["--state", own, "--frames", pictures, "--fps", "1", "--memory", String(MEMORY_MIB)],
          "--attached",
        ],
        env: passedOn(),
        cwd: ROOT,
        confinement:
          layout.owners === null
            ? null
            : {
                ...layout.owners.edge,
                readable: [ROOT, pictures],
                // The default state folder lies inside the program's.
                hidden: [layout.state],
                writable: [own],
                ownProcesses: true,
              },
        stdio: ["pipe", "pipe", "pipe"],
      }),
    onDeath: (name, code, signal, lastLine) => {
      warn(`${name} died (${signal ?? code}), starting it again: ${lastLine}`);
      return true;
    },
  });
}
