// SPDX-License-Identifier: Apache-2.0
/** Starts enter.pl, the only way into a live sandbox, and understands its answers. */
import type { Readable, Writable } from "node:stream";
import { DriverFault } from "../driver.ts";
import type { EntryPool } from "./entry-pool.ts";
import { CALLS, type EntryProcess } from "./launcher.ts";
import type { NamespaceKind } from "./record.ts";
import { INSIDE_ID } from "./skeleton.ts";

/** Linux resource numbers, the same on x86_64 and arm64. */
const RLIMIT = { fsize: 1, core: 4, nproc: 6, nofile: 7, as: 9 } as const;
export type Rlimits = Partial<Record<keyof typeof RLIMIT, number>>;

export interface EntryAsk {
  argv: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  namespaces: Readonly<Partial<Record<NamespaceKind, number>>>;
  /** The machine's uid on the host, or null when it is the driver's own. */
  hostUid: number | null;
  /** Files by which a process joins the command's cgroups. */
  cgroupFiles: readonly string[];
  rlimits: Rlimits;
  filter: Buffer;
  /** `file`: to the input document before the command starts; `pass`: the command's own standard input. */
  input: "none" | "file" | "pass";
}

/** The command never ran: a step of the entry refused. `stage` names it. */
export class EntryRefused extends DriverFault {
  readonly stage: string;
  readonly errno: number;
  constructor(stage: string, errno: number) {
    const [code, words] = reasonOf(stage, errno);
    super(code, words);
    this.stage = stage;
    this.errno = errno;
  }
}

const E2BIG = 7;
const NO_ROOM = [12, 28, 122]; // ENOMEM, ENOSPC, EDQUOT

/** What the caller can mend is told as theirs; everything else is a refusal of ours, and nothing ran. */
function reasonOf(stage: string, errno: number): [code: string, words: string] {
  if (stage === "cwd") return ["machine.exec-refused", "cwd is not a folder that the session can enter"];
  if (stage === "exec" && errno === E2BIG)
    return ["machine.exec-refused", "command and env are too long together"];
  if (stage.startsWith("input-")) {
    return NO_ROOM.includes(errno)
      ? ["machine.input-failed", "the session has no room left for the input"]
      : ["machine.exec-refused", "something of the session's stands where the input document belongs"];
  }
  return ["machine.entry-refused", `entering the sandbox stopped at ${stage} (errno ${errno})`];
}

export interface Entered {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Resolves when the command is about to be executed; rejects with EntryRefused. */
  started: Promise<void>;
  /** Resolves with the wait status of the command; rejects when it never ran. */
  ended: Promise<number>;
  process: EntryProcess;
}

const text = (key: string, value: string) => {
  if (value.includes("\0")) throw new DriverFault("machine.exec-refused", `a NUL byte in ${key}`);
  return `${key} ${value}\0`;
};

export async function enter(pool: Pick<EntryPool, "take">, ask: EntryAsk): Promise<Entered> {
  const kinds = (Object.keys(ask.namespaces) as NamespaceKind[]).filter(
    (k) => ask.namespaces[k] !== undefined,
  );
  // The configuration goes through a pipe: an argument list can be read by everyone on the host.
  const configuration =
    text("calls", CALLS) +
    text("holder", String(process.pid)) +
    text("namespaces", kinds.map((kind) => `${kind}=${ask.namespaces[kind]}`).join(" ")) +
    text("privileged", ask.hostUid === null ? "0" : "1") +
    text("owner", String(ask.hostUid ?? "")) +
    ask.cgroupFiles.map((path) => text("cgroup", path)).join("") +
    Object.entries(ask.rlimits)
      .map(([name, limit]) => text("rlimit", `${RLIMIT[name as keyof Rlimits]} ${limit}`))
      .join("") +
    text("uid", String(INSIDE_ID)) +
    text("gid", String(INSIDE_ID)) +
    text("filter", ask.filter.toString("hex")) +
    text("input", ask.input) +
    text("cwd", ask.cwd) +
    Object.entries(ask.env)
      .map(([name, value]) => text("env", `${name}=${value}`))
      .join("") +
    ask.argv.map((arg) => text("arg", arg)).join("");

  const entry = await pool.take();
  const [stdin, stdout, stderr, setup, status] = entry.stdio;
  if (ask.input === "none") stdin.end();
  setup.end(`${configuration.slice(0, -1)}\0end\0`);

  let begin = () => {};
  let refuse = (_: Error) => {};
  const started = new Promise<void>((resolve, reject) => {
    begin = resolve;
    refuse = reject;
  });
  const ended = new Promise<number>((resolve, reject) => {
    let said = "";
    let failure: Error | null = null;
    status.setEncoding("latin1");
    status.on("data", (more: string) => {
      said += more;
      if (said.length > 4096) said = said.slice(-4096);
      const failed = said.match(/^F (\S+) (\d+)$/m);
      if (failed) {
        failure = new EntryRefused(failed[1]!, Number(failed[2]));
        refuse(failure);
      } else if (said.startsWith("S\n")) begin();
    });
    // The entry's own end: nothing it started has the other side of this pipe.
    status.on("close", () => {
      // Nobody reads it any more, and an unwritten pipe does not tell.
      stdin.destroy();
      const done = said.match(/^X (\d+)$/m);
      // Ended before it began (the machine was stopped under it); does nothing when it had begun.
      refuse(new EntryRefused("killed", 0));
      const lost = failure ?? (done ? null : new EntryRefused("lost", 0));
      if (lost) {
        refuse(lost);
        reject(lost);
      } else resolve(Number(done![1]));
    });
  });
  // Either may be looked at late; an unhandled rejection must not end the host.
  started.catch(() => {});
  ended.catch(() => {});
  return { stdin, stdout, stderr, started, ended, process: entry };
}
