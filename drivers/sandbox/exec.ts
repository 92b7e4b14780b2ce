// SPDX-License-Identifier: Apache-2.0
/**
 * Runs one command in a live sandbox and answers when it has ended — or, after a timeout, when nothing
 * of it is left. A command may fork twice, leave its session, ignore SIGTERM or stop itself; it cannot
 * leave the cgroup it was started in, and that is what is ended.
 */
import { rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { ExecResult } from "#contract/link/machine.ts";
import type { ExecAsk } from "../driver.ts";
import { INPUT_FOLDER } from "./arguments.ts";
import { type Cgroups, processesIn } from "./cgroups.ts";
import { enter } from "./enter.ts";
import type { EntryPool } from "./entry-pool.ts";
import { feed } from "./feed.ts";
import { keepEntry, type Sandbox } from "./machine.ts";
import { listPids, namespaceInode, statusFields } from "./process-table.ts";
import { rlimitsFor } from "./rlimits.ts";

const GRACE_MS = 2000;
const TIMED_OUT = 124;
const KILLED = 137;

export interface ExecPlace {
  sandbox: Sandbox;
  cgroups: Cgroups;
  filter: Buffer;
  entries: EntryPool;
}

export const BASE_ENV: Readonly<Record<string, string>> = {
  PATH: "/usr/local/bin:/usr/bin:/bin",
  HOME: "/session",
  USER: "session",
  LOGNAME: "session",
  SHELL: "/bin/sh",
  TMPDIR: "/tmp",
  LANG: "C.UTF-8",
  INPUT_DATA: `${INPUT_FOLDER}/data`,
};

export async function execInSandbox(place: ExecPlace, ask: ExecAsk): Promise<ExecResult> {
  const { sandbox, cgroups } = place;
  const from = performance.now();
  const command = cgroups.createCommand(sandbox.cgroups, `x${++sandbox.commands}`);
  const killsBefore = cgroups.oomKills(sandbox.cgroups) ?? 0;
  const entered = await enter(place.entries, {
    // Without `--` a command that begins with a dash would be read as the shell's options.
    argv: ["/bin/sh", "-c", "--", ask.command],
    cwd: ask.cwd ?? "/session",
    env: { ...BASE_ENV, ...ask.env },
    namespaces: sandbox.namespaces,
    hostUid: sandbox.record.uid,
    cgroupFiles: command.join,
    rlimits: rlimitsFor(sandbox, cgroups.kind),
    filter: place.filter,
    input: ask.input === null ? "none" : "file",
  });
  keepEntry(sandbox, entered.process);
  const output = [carry(entered.stdout, 1, ask), carry(entered.stderr, 2, ask)] as const;
  const feeding = ask.input === null ? Promise.resolve() : feed(entered, ask.input);

  let timedOut = false;
  let stopping: Promise<void> | null = null;
  const stop = () => {
    stopping ??= endTree(sandbox, command.folder);
  };
  const onAbort = () => stop();
  ask.signal?.addEventListener("abort", onAbort, { once: true });
  if (ask.signal?.aborted) stop();
  let timer: NodeJS.Timeout | undefined;
  try {
    await Promise.race([entered.started, feeding.then(() => entered.started)]);
    timer = setTimeout(() => {
      timedOut = true;
      stop();
    }, ask.timeoutMs);
    const status = await entered.ended;
    clearTimeout(timer);
    await stopping;
    const [out, err] = await Promise.all(output);
    const oomKilled = (cgroups.oomKills(sandbox.cgroups) ?? 0) > killsBefore;
    sandbox.oomKillsSeen += oomKilled ? 1 : 0;
    const exitCode = (status & 0x7f) !== 0 ? 128 + (status & 0x7f) : status >> 8;
    return {
      exitCode: timedOut ? TIMED_OUT : exitCode,
      timedOut,
      oomKilled: oomKilled && !timedOut && exitCode === KILLED,
      outputTruncated: out || err,
      durationMs: Math.round(performance.now() - from),
    };
  } finally {
    clearTimeout(timer);
    ask.signal?.removeEventListener("abort", onAbort);
    await stopping;
    // Background processes stay in it; the machine's end removes it then.
    if (command.folder !== null) tryRemove(command.folder);
  }
}

/** Hands output on in order, waits for the reader, and past the limit reads on and drops. Resolves to whether it dropped. */
async function carry(stream: Readable, channel: 1 | 2, ask: ExecAsk): Promise<boolean> {
  let left = ask.outputLimitBytes ?? Number.POSITIVE_INFINITY;
  let truncated = false;
  try {
    for await (const bytes of stream as AsyncIterable<Buffer>) {
      const kept = bytes.subarray(0, Math.min(left, bytes.length));
      left -= kept.length;
      if (kept.length < bytes.length) truncated = true;
      if (kept.length > 0) await ask.onOutput(channel, kept);
    }
  } catch {
    // The reader went away or the entry was killed; the command's own result still counts.
    stream.resume();
  }
  return truncated;
}

/** SIGTERM to all, SIGKILL after the grace, until nothing is left. */
async function endTree(sandbox: Sandbox, folder: string | null): Promise<void> {
  if (folder !== null)
    return endMembers(
      () => processesIn(folder),
      () => freeze(folder),
    );
  // Process 1 starts a new sleep for each that is killed, so it is stopped meanwhile.
  const first = [sandbox.started.pid];
  send(first, "SIGSTOP");
  try {
    await endMembers(() => othersIn(sandbox));
  } finally {
    send(first, "SIGCONT");
  }
}

async function endMembers(members: () => number[], beforeKill: () => void = () => {}): Promise<void> {
  send(members(), "SIGTERM");
  // A stopped process takes its SIGTERM only when it runs again.
  send(members(), "SIGCONT");
  const deadline = performance.now() + GRACE_MS;
  while (members().length > 0 && performance.now() < deadline) await sleep(10);
  if (members().length > 0) beforeKill();
  await killMembers(members);
}

/** Until nothing is left: who was forked while its parent was killed is found at the next look. */
export async function killMembers(members: () => number[]): Promise<void> {
  for (let left = members(); left.length > 0; left = members()) {
    send(left, "SIGKILL");
    await sleep(5);
  }
}

/** From here on it can only shrink. Not earlier: a handler that cleans up may need to start a program. */
function freeze(folder: string): void {
  try {
    writeFileSync(join(folder, "pids.max"), "0");
  } catch {}
}

function send(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {}
  }
}

/**
 * Without cgroups nothing tells one command's processes from another's, so a timeout ends everything
 * in the machine but its first process.
 */
function othersIn({ started }: Sandbox): number[] {
  return listPids().filter(
    (pid) =>
      pid !== started.pid &&
      namespaceInode(pid, "pid") === started.namespaces.pid &&
      !(statusFields(pid)?.get("State") ?? "Z").startsWith("Z"),
  );
}

function tryRemove(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {}
}
