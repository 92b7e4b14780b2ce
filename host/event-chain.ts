// SPDX-License-Identifier: Apache-2.0
/**
 * The hash-chained log of what happened to one machine, in order: created, exec.started, exec.ended,
 * file.put … It holds no command, path or byte of the customer's. Its head and count go into step 7
 * of the proof, which fixes the order of events for whoever holds the log.
 *
 * Invariants:
 *  A. head(n) = SHA-256("casemate/event/1" LF JCS{prev, event}); head(0) is the hash of nothing.
 *  B. Every event is in the file before it is acted on further (append, not flushed: the page cache
 *     outlives a killed process). A file that cannot be written leaves `faulty` set; the chain in
 *     memory goes on, and step 7 names the fault.
 *  C. `reopen` keeps the longest prefix that chains; a line torn by a kill is not an event.
 *  D. `holds` reads the file as it is now: what is in memory proves nothing about what is kept.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { canonicalJson, digestText, GENESIS } from "#evidence/proofs/hash.ts";
import { type Files, plainFiles } from "./blank-files.ts";

export type EventKind =
  | "created"
  | "exec.started"
  | "exec.ended"
  | "file.put"
  | "file.got"
  | "file.removed"
  | "died"
  | "ending"
  | "recovered"
  | "ended";

export interface Event {
  n: number;
  at: string;
  kind: EventKind;
  /** Exit codes, sizes, triggers: words and integers of our own. */
  facts: Record<string, string | number | boolean>;
}

export class EventChain {
  head = GENESIS;
  count = 0;
  faulty = false;
  readonly #path: string;
  readonly #files: Files;
  #fd: number | undefined;

  private constructor(path: string, files: Files) {
    this.#path = path;
    this.#files = files;
  }

  static create(path: string, files = plainFiles): EventChain {
    const chain = new EventChain(path, files);
    chain.#open();
    return chain;
  }

  static reopen(path: string, files = plainFiles): EventChain {
    const chain = new EventChain(path, files);
    const { head, count, kept, whole } = readChain(path);
    chain.head = head;
    chain.count = count;
    // What is whole is gone on with as it stands: a kill between an emptying and a writing again would lose it.
    chain.#open(whole && count > 0);
    if (!whole) chain.#write(kept);
    return chain;
  }

  /** The file is this chain and nothing else; null when it could not all be written. D. */
  holds(): boolean | null {
    if (this.faulty) return null;
    const { head, count, whole } = readChain(this.#path);
    return whole && head === this.head && count === this.count;
  }

  add(kind: EventKind, facts: Event["facts"] = {}): void {
    const event: Event = { n: this.count + 1, at: new Date().toISOString(), kind, facts };
    this.head = nextHead(this.head, event);
    this.count = event.n;
    this.#write(`${JSON.stringify({ event, head: this.head })}\n`);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  remove(): void {
    this.close();
    this.#files.remove(this.#path);
  }

  #open(goOn = false): void {
    try {
      this.#fd = goOn ? openSync(this.#path, "a") : this.#files.open(this.#path);
    } catch {
      this.faulty = true;
    }
  }

  #write(text: string): void {
    if (this.#fd === undefined) return;
    const bytes = Buffer.from(text);
    try {
      if (writeSync(this.#fd, bytes) !== bytes.length) this.faulty = true;
    } catch {
      this.faulty = true;
    }
  }
}

/** The longest prefix that chains, and whether it is all there is. */
function readChain(path: string) {
  let text = "";
  try {
    text = readFileSync(path, "utf8");
  } catch {
    // Never written, or lost with the disk: an empty log says so by its count.
  }
  let head = GENESIS;
  let count = 0;
  let kept = "";
  for (const line of text.split("\n").slice(0, -1)) {
    const event = parseEvent(line);
    if (event?.n !== count + 1 || event.head !== nextHead(head, event.event)) break;
    head = event.head;
    count = event.n;
    kept += `${line}\n`;
  }
  return { head, count, kept, whole: kept === text };
}

function nextHead(prev: string, event: Event): string {
  return digestText(`casemate/event/1\n${canonicalJson({ prev, event })}`);
}

function parseEvent(line: string): { n: number; event: Event; head: string } | undefined {
  try {
    const { event, head } = JSON.parse(line);
    return { n: event.n, event, head };
  } catch {
    return undefined;
  }
}
