// SPDX-License-Identifier: Apache-2.0
/**
 * The compose program: the plugin of today's Docker, or the older program of its own.
 *
 * It gets an environment with nothing of the client's and nothing of the operator's in it: no values
 * for it to interpolate, no registry logins of root's, no settings file to find.
 */
import { mkdirSync } from "node:fs";
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
  documentPath: string;
  timeoutMs: number;
  signal: AbortSignal;
}

export function composeUp(up: Up): Promise<Ran> {
  const files = ["--project-directory", emptyFolder(up.folder), "-f", up.documentPath, "-p", up.project];
  const [name, ...value] = processMark(up.owner, up.machineId).split("=") as [string, ...string[]];
  return runProgram(
    [...up.program.command, "--ansi", "never", ...files, "up", "-d", "--no-build", "--remove-orphans"],
    {
      timeoutMs: up.timeoutMs,
      signal: up.signal,
      cwd: emptyFolder(up.folder),
      env: {
        ...environment(up.folder),
        DOCKER_HOST: `unix://${up.socketPath}`,
        COMPOSE_HTTP_TIMEOUT: "120",
        [name]: value.join("="),
      },
    },
  );
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
