// SPDX-License-Identifier: Apache-2.0
/**
 * The compose program: the plugin of today's Docker, or the older program of its own.
 *
 * It gets an environment with nothing of the client's and nothing of the operator's in it: no values
 * for it to interpolate, no registry logins of root's, no settings file to find. The document, with all
 * its values, comes through a pipe, so that the program can be loaded before there is one. What is cut off
 * in it is no JSON: half a document of a killed host starts nothing.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listPids, namespaceInode, tryRead } from "../sandbox/process-table.ts";
import { processMark } from "./marks.ts";
import { type Ran, runProgram } from "./program.ts";

const DETECT_MS = 20_000;
const END_MS = 10_000;
const CANDIDATES = [["docker", "compose"], ["docker-compose"]];

export interface ComposeProgram {
  command: string[];
  version: string;
}

/** The first that answers; null when there is none. */
export async function findCompose(
  folder: string,
  given: string[] | undefined,
): Promise<ComposeProgram | null> {
  for (const command of given === undefined ? CANDIDATES : [given]) {
    const ran = await runProgram([...command, "version", "--short"], {
      timeoutMs: DETECT_MS,
      env: environment(folder),
    }).catch(() => null);
    const version = ran?.stdout.trim() ?? "";
    if (ran?.code === 0 && /^v?\d+\./.test(version)) return { command, version };
  }
  return null;
}

export interface Up {
  program: ComposeProgram;
  folder: string;
  socketPath: string;
  owner: string;
  machineId: string;
  project: string;
  /** Read when it is there: the program may be loaded meanwhile, which takes it longer than most starts. */
  document: Promise<string>;
  /** Set: the document extends services of its own, for which compose 1 opens it again. It stands here then. */
  rereadAt: string | null;
  timeoutMs: number;
  signal: AbortSignal;
}

export async function composeUp(up: Up): Promise<Ran> {
  const { program, folder, project, document, rereadAt, socketPath, timeoutMs, signal } = up;
  const [name, ...value] = processMark(up.owner, up.machineId).split("=") as [string, ...string[]];
  const run = (at: string, input?: Promise<string>) => {
    const files = ["--project-directory", emptyFolder(folder), "-f", at, "-p", project];
    const words = ["up", "-d", "--no-build", "--remove-orphans"];
    return runProgram([...program.command, "--ansi", "never", ...files, ...words], {
      ...{ timeoutMs, signal, cwd: emptyFolder(folder), ...(input && { input }) },
      env: {
        ...environment(folder),
        DOCKER_HOST: `unix://${socketPath}`,
        COMPOSE_HTTP_TIMEOUT: "120",
        [name]: value.join("="),
      },
    });
  };
  if (rereadAt === null) return run("-", document);
  writeFileSync(rereadAt, await document, { mode: 0o600 });
  return run(rereadAt).finally(() => rmSync(rereadAt, { force: true }));
}

/** Without a `.env`, without logins, without plugins of a user's. */
function emptyFolder(folder: string): string {
  const path = join(folder, "empty");
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

function environment(folder: string): Record<string, string> {
  const empty = emptyFolder(folder);
  return { HOME: empty, DOCKER_CONFIG: empty };
}

/**
 * Ends what a killed process left running for this machine: compose works on when its parent is gone,
 * and would make containers behind our back. It is known by its mark, and by living outside of every
 * container, where a client could set the mark too.
 */
export async function endLeftovers(owner: string, machineId: string): Promise<void> {
  const mark = processMark(owner, machineId);
  const outside = namespaceInode(process.pid, "mnt");
  for (const until = Date.now() + END_MS; ; ) {
    const left = listPids().filter(
      (pid) =>
        pid !== process.pid &&
        tryRead(`/proc/${pid}/environ`)?.split("\0").includes(mark) === true &&
        namespaceInode(pid, "mnt") === outside,
    );
    if (left.length === 0) return;
    if (Date.now() > until) throw new Error(`a compose process of ${machineId} does not end`);
    for (const pid of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {}
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
