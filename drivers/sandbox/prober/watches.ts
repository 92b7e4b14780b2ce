// SPDX-License-Identifier: Apache-2.0
/**
 * The prober's handle on watch.pl. When it cannot run, nothing is watched or sieved, and the scan searches
 * every process instead: slower, not weaker.
 *
 *  A. A file system is called gone only on the kernel's word for the very watch that was set on it.
 *  B. Watches die with their process; numbers of an earlier one are refused, not looked up.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Machine, WATCH_CALLS } from "#confine/syscalls.ts";
import type { Watched } from "./question.ts";

const PROGRAM = fileURLToPath(new URL("./watch.pl", import.meta.url));
const CALLS = Object.entries(WATCH_CALLS[process.arch as Machine] ?? WATCH_CALLS.x64)
  .map(([name, number]) => `${name}=${number}`)
  .join(" ");

export class Watches {
  #child: ChildProcess | undefined;
  /** Names the running child (B). */
  #token = "";
  #lastKey = 0;
  /** What is answered with words by key; null when the program died over it. */
  readonly #asked = new Map<string, (words: string[] | null) => void>();
  readonly #gone = new Map<number, PromiseWithResolvers<void> & { over: boolean }>();

  /** Watches the file systems under a process's directory descriptors; null when one of them cannot be. */
  async watch(pid: number, fds: readonly number[]): Promise<Watched | null> {
    const numbers = await Promise.all(fds.map((fd) => this.#watchOne(`/proc/${pid}/fd/${fd}`)));
    const watched = { token: this.#token, numbers: numbers.filter((each) => each !== null) };
    if (watched.numbers.length === numbers.length) return watched;
    this.leave(watched);
    return null;
  }

  knows({ token }: Watched): boolean {
    return token === this.#token;
  }

  isGone(number: number): boolean {
    return this.#gone.get(number)?.over ?? false;
  }

  /** Resolves when all are gone, or after `mostMs`. */
  async waitGone({ numbers }: Watched, mostMs: number): Promise<void> {
    const waiting = numbers.filter((each) => !this.isGone(each));
    if (waiting.length === 0) return;
    let late: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      late = setTimeout(resolve, mostMs);
    });
    await Promise.race([deadline, Promise.all(waiting.map((each) => this.#gone.get(each)?.promise))]);
    clearTimeout(late);
  }

  leave({ token, numbers }: Watched): void {
    if (token !== this.#token) return;
    for (const number of numbers) {
      if (!this.isGone(number)) this.#child?.stdin?.write(`leave ${number}\n`);
      this.#gone.delete(number);
    }
  }

  /** Processes that are in one of these namespaces, or that do not show all of theirs; null when it cannot be told. */
  async sieve(links: readonly string[]): Promise<number[] | null> {
    if (links.length === 0) return null;
    const words = await this.#ask("sieve", links.join(" "));
    return words?.map(Number) ?? null;
  }

  async #watchOne(path: string): Promise<number | null> {
    const words = await this.#ask("watch", path);
    return words === null || words[0] === "-" ? null : Number(words[0]);
  }

  #ask(what: string, about: string): Promise<string[] | null> {
    this.#child ??= this.#spawn();
    const key = String(++this.#lastKey);
    return new Promise((resolve) => {
      this.#asked.set(key, resolve);
      this.#child!.stdin!.write(`${what} ${key} ${about}\n`);
    });
  }

  #spawn(): ChildProcess {
    const child = spawn("/usr/bin/perl", ["-f", PROGRAM, CALLS], {
      env: {},
      cwd: "/",
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#token = randomBytes(8).toString("hex");
    child.stdin!.on("error", () => {});
    createInterface({ input: child.stdout! }).on("line", (line) => {
      const [what, first = "", ...words] = line.split(" ");
      if (what === "gone") {
        const entry = this.#gone.get(Number(first));
        if (entry) entry.over = true;
        entry?.resolve();
        return;
      }
      // Before anybody is told: the notice may be the next line.
      if (what === "watching" && words[0] !== "-")
        this.#gone.set(Number(words[0]), { ...Promise.withResolvers<void>(), over: false });
      this.#asked.get(first)?.(words);
      this.#asked.delete(first);
    });
    const lost = () => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#token = "";
      this.#gone.clear();
      for (const tell of this.#asked.values()) tell(null);
      this.#asked.clear();
    };
    child.once("error", lost);
    child.once("exit", lost);
    return child;
  }
}
