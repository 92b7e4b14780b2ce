// SPDX-License-Identifier: Apache-2.0
/**
 * One program for one piece of a stranger's data, with nothing else within its reach. Needs no
 * privilege: control, which has none, starts it. The attacker owns the data, and perhaps with it the
 * program that reads it.
 *
 *  A. All namespaces are new, the network's too. It sees the files named for it, read-only, and can write
 *     to the files named for it, which were made before: it makes no file, so what it can fill is known.
 *  B. There is no /proc: another's would show its parent, and one of its own is refused by kernels that
 *     hide parts of it from containers. /dev and the root can be read only.
 *  C. It stays one process (the filter refuses fork), so limits of a process are limits of the whole:
 *     private memory by RLIMIT_DATA, files by RLIMIT_FSIZE, processor time by RLIMIT_CPU. Memory that is
 *     shared counts for none of those, so it is looked at while it runs.
 *  D. The answer comes when all of it is gone. What it wrote is then nobody's to change.
 *  E. What cannot be confined is not run: a missing program or namespace is an outcome, never a run without.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Readable, type Writable } from "node:stream";
import { assembleFilter } from "./seccomp.ts";
import { findProgram } from "./spawn.ts";
import type { Machine } from "./syscalls.ts";

export interface AloneOptions {
  command: string;
  args: string[];
  env: Record<string, string>;
  cwd: string;
  /** Absolute files or folders, seen where they are. */
  readable: string[];
  /** Absolute files or folders, seen elsewhere: from outside to inside. */
  shown: Record<string, string>;
  /** Absolute files that are there and can be written, from outside to inside. */
  writable: Record<string, string>;
  /** Of one file that it writes. */
  fileBytesMax: number;
  memoryMiB: number;
  /** Null: of one that stays, and is asked one thing after another; whoever asks bounds each answer. */
  cpuSeconds: number | null;
  timeoutMs: number | null;
  /** Given on standard input, which then ends. */
  input: string | Readable;
  /** Called with each line of standard output. */
  onLine(line: string): void;
  lineBytesMax: number;
  linesMax: number;
  /** Aborted when nobody wants it any more. */
  signal: AbortSignal;
}

export type Ended =
  | { how: "ended" }
  | { how: "time" | "memory" | "talk" | "cancelled" }
  /** `words` is what it wrote to standard error at last: a stranger's text. */
  | { how: "died"; code: number | null; words: string }
  | { how: "unconfined"; why: string };

const MIB = 1024 * 1024;
/** Node keeps this much address space writable before it does anything. */
const RUNTIME_MIB = 1024;
const NICENESS = "10";
const WATCH_MS = 100;
const CPU_GRACE_S = 5;
const TICKS_PER_SECOND = 100;
const STDERR_MAX = 8_192;
/** As a shell and bubblewrap tell of a signal. */
const SIGNALLED = 128;
const SIGKILL = 9;
const LIBRARIES = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"];

export async function runAlone(options: AloneOptions): Promise<Ended> {
  const bwrap = findProgram("bwrap");
  const prlimit = findProgram("prlimit");
  const nice = findProgram("nice");
  if (bwrap === null) return { how: "unconfined", why: "bubblewrap is not installed" };
  if (prlimit === null || nice === null)
    return { how: "unconfined", why: "prlimit or nice is not installed" };
  if (options.signal.aborted) return { how: "cancelled" };
  // Whoever waits for an answer of the API does not wait for this.
  const words = ["-n", NICENESS, prlimit, ...limitsOf(options), "--", bwrap, ...wallsOf(options)];
  const child = spawn(nice, words, {
    env: {},
    cwd: "/",
    stdio: ["pipe", "pipe", "pipe", "pipe", "pipe"],
  });
  return watch(child, options);
}

const limitsOf = ({ memoryMiB, fileBytesMax, cpuSeconds }: AloneOptions): string[] => [
  `--data=${(memoryMiB + RUNTIME_MIB) * MIB}`,
  `--fsize=${fileBytesMax}`,
  // Behind our own looking: the first process of a namespace hears no SIGXCPU, and SIGKILL does not say why.
  `--cpu=${cpuSeconds === null ? "unlimited" : cpuSeconds + CPU_GRACE_S}`,
  // As for sessions: 1 is "never" also where the kernel pipes cores to a program.
  ...["--core=1", "--nofile=256"],
];

function wallsOf({ command, args, env, cwd, readable, shown, writable }: AloneOptions): string[] {
  const same = readable.flatMap((path) => ["--ro-bind", path, path]);
  const bound = (flag: string, paths: Record<string, string>) =>
    Object.entries(paths).flatMap(([outside, inside]) => [flag, outside, inside]);
  return [
    ...["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"],
    ...["--unshare-cgroup-try", "--hostname", "alone", "--new-session", "--die-with-parent", "--as-pid-1"],
    ...["--cap-drop", "ALL", "--clearenv"],
    ...Object.entries(env).flatMap(([name, value]) => ["--setenv", name, value]),
    ...LIBRARIES.flatMap((path) => ["--ro-bind-try", path, path]),
    ...["--dev", "/dev"],
    ...[...same, ...bound("--ro-bind", shown), ...bound("--bind", writable)],
    ...["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", cwd],
    ...["--seccomp", "3", "--info-fd", "4", "--", command, ...args],
  ];
}

/** Runs it to its end. The first reason to end it is the one that is told. */
function watch(child: ChildProcess, options: AloneOptions): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>();
  let reason: Ended | null = null;
  const words = tailOf(child.stderr!);
  const told = child.stdio[4] as Readable;
  const info = tailOf(told);
  const innerPid = () => /"child-pid": *(\d+)/.exec(info())?.[1];
  /**
   * Both of bubblewrap's processes: the inner one dies with the outer only from some moment of its start on.
   * Killed before that, the outer left the inner waiting for it for ever, with our pipes in its hands (tried).
   */
  const kill = () => {
    const inner = innerPid();
    try {
      if (inner !== undefined) process.kill(Number(inner), "SIGKILL");
    } catch {
      // It went by itself meanwhile.
    }
    child.kill("SIGKILL");
  };
  const end = (why: Ended) => {
    if (reason !== null) return;
    reason = why;
    if (innerPid() !== undefined) return kill();
    // Not known yet: it is told at once when there is one, and the pipe ends when there will be none.
    told.once("data", kill);
    told.once("end", kill);
  };
  const cancel = () => end({ how: "cancelled" });
  options.signal.addEventListener("abort", cancel, { once: true });
  const { timeoutMs, cpuSeconds } = options;
  const late = timeoutMs === null ? undefined : setTimeout(() => end({ how: "time" }), timeoutMs);
  const mostMiB = options.memoryMiB + RUNTIME_MIB;
  const looking = setInterval(() => {
    const pid = innerPid();
    if (pid === undefined) return;
    if (residentMiB(pid) > mostMiB) end({ how: "memory" });
    if (cpuSeconds !== null && secondsUsed(pid) > cpuSeconds) end({ how: "time" });
  }, WATCH_MS);
  readLines(child.stdout!, options, () => end({ how: "talk" }));
  give(child.stdio[3] as Writable, assembleFilter(process.arch as Machine, { threadsOnly: true }));
  give(child.stdin!, options.input);
  child.once("error", (error) => {
    reason ??= { how: "unconfined", why: error.message };
  });
  child.once("close", (code) => {
    clearTimeout(late);
    clearInterval(looking);
    options.signal.removeEventListener("abort", cancel);
    resolve(reason ?? howOf(code, words()));
  });
  return promise;
}

function howOf(code: number | null, words: string): Ended {
  if (code === 0) return { how: "ended" };
  if (/^bwrap: /m.test(words)) return { how: "unconfined", why: words.trim().split("\n")[0]! };
  // The kernel, for the machine as a whole; nobody else here kills it without a reason noted.
  if (code === SIGNALLED + SIGKILL) return { how: "memory" };
  if (/out of memory|bad_alloc|Failed to reserve|allocate memory|allocation failed/i.test(words))
    return { how: "memory" };
  return { how: "died", code, words };
}

/** Of a process that just went, nothing. */
function fieldsOf(pid: string, file: "statm" | "stat"): number[] {
  try {
    // The name, in brackets, may hold anything.
    const text = readFileSync(`/proc/${pid}/${file}`, "utf8").replace(/^.*\) /s, "");
    return text.split(" ").map(Number);
  } catch {
    return [];
  }
}

/** All its pages, shared ones too. */
const residentMiB = (pid: string) => ((fieldsOf(pid, "statm")[1] ?? 0) * 4096) / MIB;

function secondsUsed(pid: string): number {
  const [user = 0, system = 0] = fieldsOf(pid, "stat").slice(11, 13);
  return (user + system) / TICKS_PER_SECOND;
}

function give(stream: Writable, input: Buffer | string | Readable): void {
  // It may end without having read.
  stream.on("error", () => {});
  if (input instanceof Readable) input.pipe(stream);
  else stream.end(input);
}

function tailOf(stream: Readable): () => string {
  let tail = "";
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => {
    tail = (tail + chunk.toString("utf8")).slice(-STDERR_MAX);
  });
  return () => tail;
}

function readLines(stream: Readable, options: AloneOptions, onTooMuch: () => void): void {
  const { onLine, lineBytesMax, linesMax } = options;
  let parts: Buffer[] = [];
  let size = 0;
  let lines = 0;
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; ) {
      const newline = chunk.indexOf(10, at);
      const piece = chunk.subarray(at, newline === -1 ? chunk.length : newline);
      size += piece.length;
      if (size > lineBytesMax || lines > linesMax) {
        parts = [];
        return onTooMuch();
      }
      parts.push(piece);
      if (newline === -1) return;
      onLine(Buffer.concat(parts).toString("utf8"));
      parts = [];
      size = 0;
      lines++;
      at = newline + 1;
    }
  });
}
