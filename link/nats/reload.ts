// SPDX-License-Identifier: Apache-2.0
/**
 * A new configuration for a nats-server of one's own, taken over without a restart: whoever is no
 * longer named is disconnected at once, everybody else stays.
 *
 *  A. The server itself judges the new file before it replaces the old one, so a refused file changes
 *     nothing and is an error here. A running server would only log it and go on with the old users,
 *     and a revocation would seem done.
 *  B. The file holds who may enter: 0600, and never half written.
 *  C. A number in a pid file may belong to anybody by now. The signal goes to a process whose command
 *     line names this configuration, else to none.
 */
import { execFile } from "node:child_process";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { LinkFault } from "../message.ts";

const JUDGE_MS = 10_000;

export interface NatsServerFiles {
  configFile: string;
  pidFile: string;
  /** The server's program; by default found on the path. */
  program?: string;
}

/** Answers whether a running server was told; when none runs, the file waits for its start. */
export async function replaceNatsConfig(files: NatsServerFiles, config: string): Promise<boolean> {
  await writeNatsConfig(files, config);
  return tellNatsServer(files) !== null;
}

export async function writeNatsConfig(
  { configFile, program = "nats-server" }: NatsServerFiles,
  config: string,
): Promise<void> {
  const next = `${configFile}.next`;
  rmSync(next, { force: true });
  writeFileSync(next, config, { mode: 0o600 });
  try {
    await promisify(execFile)(program, ["-t", "-c", next], { timeout: JUDGE_MS });
  } catch (error) {
    rmSync(next, { force: true });
    throw new LinkFault("link.config-refused", "nats-server refuses the configuration", { cause: error });
  }
  renameSync(next, configFile);
}

/** Has the running server read its configuration, and answers which process that is; null: none runs. */
export function tellNatsServer(files: NatsServerFiles): string | null {
  const server = findNatsServer(files);
  if (server === null) return null;
  try {
    process.kill(Number.parseInt(server, 10), "SIGHUP");
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return null;
    throw error;
  }
}

/** Number and start of the running server's process; null: none runs. */
export function findNatsServer({ configFile, pidFile }: NatsServerFiles): string | null {
  try {
    const pid = Number(readFileSync(pidFile, "utf8").trim());
    if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(configFile)) return null;
    // The 22nd field, told from behind the name, which may hold anything.
    const started = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ")[19];
    return `${pid} ${started}`;
  } catch {
    return null;
  }
}
