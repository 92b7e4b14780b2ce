// SPDX-License-Identifier: Apache-2.0
/**
 * The guest's agent as a program of this computer, for tests: compiled from guest/agent with the compiler of the base image's
 * lock, which is fetched and unpacked once and kept beside the dependencies. What it says over its socket is the real agent's.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { connectSoon } from "#drivers/qemu/sockets.ts";
import { type Guest, greetGuest } from "#guest/client.ts";
import { openApt } from "#images/apt.ts";
import { parseLock } from "#images/lock.ts";
import { fillCache, openPackageCache } from "#images/package-cache.ts";
import { requireRecipe } from "#images/recipe.ts";
import { lackingForBuild } from "#images/tools.ts";
import { oneAtATime } from "./one-at-a-time.ts";
import type { Requirement } from "./requirements.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const SOURCE = join(ROOT, "guest/agent");
const CACHE = join(ROOT, "node_modules/.cache/casemate-guest");
/** As long as a slow machine with much else to do may take to fetch a compiler and to use it. */
export const COMPILE_MS = 400_000;

const recipe = requireRecipe("base");
const lock = parseLock(readFileSync(join(ROOT, "images/base.lock.json"), "utf8"), "base");
const archives = lock.packages.filter(({ use }) => use === "compiler");
const toolchain = join(CACHE, `compiler-${archives.map(({ version }) => version).join("-")}`);

/** The short suite fetches nothing: there the compiler must have been used before. */
export const guestCompiler: Requirement = {
  met:
    process.arch === "x64" &&
    (existsSync(toolchain) || (process.env.CASEMATE_TEST_DEPTH === "all" && lackingForBuild(0) === null)),
  reason: "needs the guest's compiler, which the deep tests fetch (./casemate test --all guest/)",
};

async function unpackToolchain(): Promise<string> {
  if (!existsSync(toolchain)) {
    mkdirSync(CACHE, { recursive: true });
    const work = mkdtempSync(join(CACHE, ".work-"));
    try {
      const signal = AbortSignal.timeout(COMPILE_MS);
      const cache = openPackageCache(join(work, "archives"));
      const { suite, architecture } = recipe;
      const apt = join(work, "apt");
      mkdirSync(apt);
      const source = () => openApt({ work: apt, suite, architecture, signal });
      await fillCache(cache, archives, source, () => {});
      const tree = join(work, "tree");
      for (const each of archives)
        await promisify(execFile)("dpkg-deb", ["--extract", cache.path(each), tree]);
      renameSync(tree, toolchain);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  return join(toolchain, recipe.compilerRoot);
}

let compiled: Promise<string> | null = null;

/** Answers the path of the driven agent (guest/agent/driven_test.go). */
export const compileGuestProgram = (): Promise<string> => {
  compiled ??= oneAtATime(CACHE, COMPILE_MS, compile);
  return compiled;
};

async function compile(): Promise<string> {
  const root = await unpackToolchain();
  const sum = createHash("sha256").update(root);
  for (const path of globSync(join(SOURCE, "*")).sort()) sum.update(path).update(readFileSync(path));
  const program = join(CACHE, `agent-${sum.digest("hex").slice(0, 32)}`);
  if (existsSync(program)) return program;
  const work = mkdtempSync(join(CACHE, ".work-"));
  try {
    const env = {
      ...{ GOROOT: root, GOCACHE: join(CACHE, "objects"), HOME: work, PATH: process.env.PATH! },
      ...{ GOPROXY: "off", GOFLAGS: "-mod=readonly", GOENV: "off", GOWORK: "off", GOTOOLCHAIN: "local" },
      ...{ CGO_ENABLED: "0", GOOS: "linux", GOARCH: recipe.architecture },
    };
    const made = join(work, "program");
    const options = { cwd: SOURCE, env, timeout: COMPILE_MS };
    await promisify(execFile)(join(root, "bin/go"), ["test", "-c", "-vet=off", "-o", made, "."], options);
    // Of an older source nobody asks again.
    for (const old of globSync(join(CACHE, "agent-*"))) rmSync(old, { force: true });
    renameSync(made, program);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return program;
}

export interface DrivenSettings {
  /** Its SHA-256 is what the measured command line would say. */
  manifest: Uint8Array;
  /** A socket that takes a TPM's commands. */
  tpm?: string;
  eventLog?: string;
  tsmFolder?: string;
  /** Ports of loopback: where the front listens, where it finds the public service. */
  frontPort?: number;
  publicPort?: number;
  /** What the imitated kernel answers in that folder; bytes in base64. */
  tsm?: { provider: string; before: string; after: string; auxiliary: string; overtaken: number };
}

export interface DrivenGuest {
  guest: Guest;
  /** What `claim` needs at least. */
  claimArgs: { claimId: string; entropy: string; timeMs: number; manifest: string; authorizedKeys: string[] };
  process: ChildProcess;
  stop(): Promise<void>;
}

export async function startDrivenGuest({
  manifest,
  frontPort = 0,
  publicPort = 0,
  ...places
}: DrivenSettings): Promise<DrivenGuest> {
  const program = await compileGuestProgram();
  const folder = mkdtempSync(join(tmpdir(), "casemate-guest-"));
  const port = join(folder, "port");
  const settings = {
    port,
    launchHash: createHash("sha256").update(manifest).digest("hex"),
    ...{ tpm: "", eventLog: "", tsmFolder: join(folder, "none"), tsm: null },
    ...{
      front: `127.0.0.1:${frontPort}`,
      public: `127.0.0.1:${publicPort}`,
      frontFolder: join(folder, "front"),
    },
    ...places,
  };
  const child = spawn(program, ["driven", JSON.stringify(settings)], {
    stdio: ["pipe", "inherit", "inherit"],
  });
  const over = new AbortController();
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  void ended.then(() => over.abort(new Error("the guest's agent ended")));
  const stop = async () => {
    child.stdin!.destroy();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const guest = await greetGuest(await connectSoon(port, over.signal), { timeoutMs: 20_000 });
    const claimArgs = {
      claimId: randomBytes(8).toString("hex"),
      entropy: randomBytes(32).toString("base64"),
      timeMs: Date.now(),
      manifest: Buffer.from(manifest).toString("base64"),
      authorizedKeys: [],
    };
    return { guest, claimArgs, process: child, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
