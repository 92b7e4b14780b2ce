// SPDX-License-Identifier: Apache-2.0
/**
 * The driver's handle on launcher.pl, which starts programs in its stead: forking this process costs
 * about 2 ms for each 100 MiB it has grown to, with the event loop stopped meanwhile. Started with the first
 * need and again when it died; a launcher's death is the death of all it started, which their handles
 * then tell.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { ENTRY_CALLS, type Machine } from "#confine/syscalls.ts";
import { CORE_LIMIT_BYTES } from "./rlimits.ts";

const LAUNCHER = fileURLToPath(new URL("./launcher.pl", import.meta.url));
const ENTRY = fileURLToPath(new URL("./enter.pl", import.meta.url));
const CLOSE_MS = 2000;

/** Numbers of the calls the perl programs make by hand, as they read them. */
export const CALLS = Object.entries(ENTRY_CALLS[process.arch as Machine] ?? ENTRY_CALLS.x64)
  .map(([name, number]) => `${name}=${number}`)
  .join(" ");

export interface MachineAsk {
  uid: number | null;
  filterPath: string;
  canaryHex: string;
  /** Files by which a process joins the machine's cgroups when it writes `0` into them. */
  cgroupFiles: readonly string[];
  /** bubblewrap's. Descriptors: 3 filter, 4 info, 5 canary. */
  args: readonly string[];
}

/** bubblewrap, outside; it ends when process 1 has been reaped, so when the pid namespace is empty. */
export interface Monitor {
  /** Process 1 as the host counts. */
  pid: Promise<number>;
  /** The first byte of process 1. */
  up: Promise<void>;
  /** False when only the launcher is known to have ended: its machines die then, each in its own time. */
  gone: Promise<boolean>;
  kill(): void;
}

/** An entry program that waits for its configuration: input, output, errors, configuration, status. */
export interface EntryProcess {
  readonly stdio: readonly [Writable, Readable, Readable, Writable, Readable];
  kill(): void;
}

interface Started {
  heard(words: string[]): void;
  lost(why: string): void;
}

export class Launcher {
  /** Given to a launcher of entries: the program they run. */
  readonly #program: string | null;
  readonly #started = new Map<string, Started>();
  #child: ChildProcess | undefined;
  #lastId = 0;
  #closed = false;

  constructor(what: "machines" | "entries") {
    this.#program = what === "entries" ? ENTRY : null;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  startMachine(ask: MachineAsk): Monitor {
    const id = String(++this.#lastId);
    const pid = Promise.withResolvers<number>();
    const up = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<boolean>();
    // Which of them is waited for depends on how far the start comes.
    for (const each of [pid, up]) each.promise.catch(() => {});
    const fail = (why: string, waitedFor: boolean) => {
      const error = new Error(why);
      pid.reject(error);
      up.reject(error);
      gone.resolve(waitedFor);
    };
    this.#started.set(id, {
      lost: (why) => fail(why, false),
      heard: ([what, ...words]) => {
        if (what === "pid") pid.resolve(Number(words[0]));
        else if (what === "up") up.resolve();
        else {
          const complaint = Buffer.from(words[1] ?? "", "hex")
            .toString()
            .trim();
          fail(`bwrap ended (${words[0]}): ${complaint}`, true);
        }
      },
    });
    const { uid, filterPath, canaryHex, cgroupFiles, args } = ask;
    this.#ask("machine", id, String(uid ?? ""), filterPath, canaryHex, cgroupFiles.join("\n"), ...args);
    return { pid: pid.promise, up: up.promise, gone: gone.promise, kill: () => this.#kill(id) };
  }

  startEntry(): Promise<EntryProcess> {
    const id = String(++this.#lastId);
    return new Promise((resolve, reject) => {
      this.#started.set(id, {
        lost: (why) => reject(new Error(why)),
        heard: ([what, ...words]) => {
          if (what !== "pipes") return reject(new Error(`perl ended (${words[0]})`));
          try {
            const stdio = openPipes(this.#child!.pid!, words.map(Number));
            resolve({ stdio, kill: () => this.#kill(id) });
          } catch (error) {
            this.#kill(id);
            reject(error);
          }
          this.#ask("taken", id);
        },
      });
      this.#ask("entry", id);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const child = this.#child;
    if (!child) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.stdin!.end();
    const late = setTimeout(() => child.kill("SIGKILL"), CLOSE_MS);
    await ended;
    clearTimeout(late);
  }

  #kill(id: string): void {
    if (this.#child && this.#started.has(id)) this.#ask("kill", id);
  }

  #ask(...fields: string[]): void {
    if (this.#closed) {
      this.#started.get(fields[1]!)?.lost("the launcher is closed");
      return;
    }
    const body = Buffer.from(fields.map((field) => `${field}\0`).join(""));
    this.#child ??= this.#spawn();
    this.#child.stdin!.write(Buffer.concat([Buffer.from(`${body.length}\n`), body]));
  }

  #spawn(): ChildProcess {
    const program = this.#program === null ? [] : [this.#program];
    const core = String(CORE_LIMIT_BYTES);
    const child = spawn("/usr/bin/perl", ["-f", LAUNCHER, CALLS, String(process.pid), core, ...program], {
      env: {},
      cwd: "/",
      stdio: ["pipe", "pipe", "inherit"],
    });
    child.stdin!.on("error", () => {});
    let text = "";
    child.stdout!.setEncoding("latin1").on("data", (more: string) => {
      const lines = (text + more).split("\n");
      text = lines.pop()!;
      for (const line of lines) this.#heard(line);
    });
    const lost = (why: string) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      const all = [...this.#started.values()];
      this.#started.clear();
      for (const each of all) each.lost(why);
    };
    child.once("error", (error) => lost(`perl did not start: ${error.message}`));
    // After its last answers.
    child.once("close", () => lost("the launcher died"));
    return child;
  }

  #heard(line: string): void {
    const [what = "", id = "", ...words] = line.split(" ");
    const started = this.#started.get(id);
    if (what === "end") this.#started.delete(id);
    started?.heard([what, ...words]);
  }
}

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;

function openPipes(pid: number, fds: readonly number[]): EntryProcess["stdio"] {
  const open = (index: number, write: boolean) => {
    const fd = openSync(`/proc/${pid}/fd/${fds[index]}`, (write ? O_WRONLY : O_RDONLY) | O_NONBLOCK);
    const stream = new Socket({ fd, readable: !write, writable: write });
    stream.on("error", () => {});
    return stream;
  };
  return [open(0, true), open(1, false), open(2, false), open(3, true), open(4, false)];
}
