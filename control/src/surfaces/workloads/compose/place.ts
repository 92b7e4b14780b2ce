// SPDX-License-Identifier: Apache-2.0
/**
 * A value at its place in the document, and the ways of reading it. Reading is checking: each way
 * returns what Docker will be given, or undefined after it said what is wrong. What nothing reads is
 * not in the output, so a member that was forgotten here is refused or left out, never passed on.
 */
import { type Findings, memberPath } from "./findings.ts";
import { type Allowance, interpolate } from "./interpolate.ts";
import type { Item } from "./source.ts";

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** What the checks of one document know and share. */
export interface Sheet {
  findings: Findings;
  lookup(name: string): string | undefined;
  allowance: Allowance;
  declared: Record<"services" | "networks" | "volumes" | "configs" | "secrets", ReadonlySet<string>>;
  files: ReadonlySet<string>;
  /** The folders that the files' names make. */
  folders: ReadonlySet<string>;
  env: ReadonlySet<string>;
  gpus: number;
  /** Ports published so far. */
  published: number;
}

export type Reader = (at: Place) => Json | undefined;

export class Place {
  readonly sheet: Sheet;
  readonly path: string;
  readonly line: number;
  readonly item: Item;

  constructor(sheet: Sheet, path: string, line: number, item: Item) {
    this.sheet = sheet;
    this.path = path;
    this.line = line;
    this.item = item;
  }

  refuse(message: string): undefined {
    this.sheet.findings.refuse(this.path, this.line, message);
    return undefined;
  }

  warn(message: string): void {
    this.sheet.findings.warn(this.path, this.line, message);
  }

  get empty(): boolean {
    return this.item.kind === "null";
  }

  /** The members of a map, in order; extensions (`x-…`) are no concern of Docker's. */
  members(): [string, Place][] | undefined {
    if (this.item.kind !== "map") return this.refuse("This must be a map.");
    const members: [string, Place][] = [];
    for (const [key, { line, item }] of this.item.entries) {
      members.push([key, new Place(this.sheet, memberPath(this.path, key), line, item)]);
    }
    return members;
  }

  /** The elements of a list, each on its own line. */
  elements(): Place[] | undefined {
    if (this.item.kind !== "list") return this.refuse("This must be a list.");
    return this.item.items.map(
      (item, index) => new Place(this.sheet, `${this.path}[${index}]`, item.line, item),
    );
  }

  /** A string with its variables replaced. */
  string(): string | undefined {
    if (this.item.kind === "number" || this.item.kind === "flag") {
      return this.refuse("This must be a string; put it in quotes.");
    }
    return this.#text(true);
  }

  /** The same for a place where `$FILES` means something. */
  fileString(): string | undefined {
    return this.#text(false);
  }

  #text(outside: boolean): string | undefined {
    if (this.item.kind !== "text") return this.refuse("This must be a string.");
    const { findings, lookup, allowance } = this.sheet;
    const done = interpolate(this.item.text, lookup, allowance);
    if ("refusal" in done) return this.refuse(done.refusal);
    for (const name of new Set(done.unset)) {
      findings.warn(this.path, this.line, `The variable ${name} is not set and becomes nothing.`);
    }
    if (outside && done.used.includes("FILES")) {
      this.warn("$FILES is the folder of the uploaded files; it means nothing inside of a container.");
    }
    return done.text;
  }

  /**
   * A value where a number or a boolean is meant as text. One that is not written as it would be read
   * (`010`, `1.10`, `0x1F`, `True`) is refused, because readers differ on what it becomes.
   */
  scalar(): string | undefined {
    if (this.item.kind !== "number" && this.item.kind !== "flag") return this.string();
    const { value, written } = this.item;
    if (String(value) === written) return written;
    return this.refuse("YAML readers differ on what this value is; put it in quotes.");
  }

  flag(): boolean | undefined {
    if (this.item.kind === "flag") return this.item.value;
    const text = this.item.kind === "text" ? this.string() : "";
    if (text === "true") return true;
    if (text === "false") return false;
    if (text !== undefined) this.refuse("This must be true or false.");
    return undefined;
  }

  /** Digits, and a fraction if `fraction`; a string of them counts, since variables make strings. */
  number(bounds: { min: number; max: number; fraction?: boolean }): number | undefined {
    const { min, max, fraction = false } = bounds;
    const written =
      this.item.kind === "number" ? this.item.written : this.item.kind === "text" ? this.string() : "";
    if (written === undefined) return undefined;
    const form = fraction ? /^-?(0|[1-9]\d{0,14})(\.\d{1,9})?$/ : /^-?(0|[1-9]\d{0,14})$/;
    const value = form.test(written) ? Number(written) : Number.NaN;
    if (value >= min && value <= max) return value === 0 ? 0 : value;
    return this.refuse(`This must be a ${fraction ? "" : "whole "}number from ${min} to ${max}.`);
  }

  /** A string of a form; `rule` is a sentence that says which. */
  matching(form: RegExp, rule: string, read: "string" | "scalar" = "string"): string | undefined {
    const text = this[read]();
    if (text === undefined || form.test(text)) return text;
    return this.refuse(rule);
  }

  oneOf<const T extends string>(...allowed: T[]): T | undefined {
    const text = this.string();
    if (text === undefined) return undefined;
    const found = allowed.find((one) => one === text);
    return found ?? this.refuse(`This must be ${list(allowed)}.`);
  }

  listOf<T extends Json>(read: (at: Place) => T | undefined): T[] | undefined {
    return this.elements()
      ?.map(read)
      .filter((one) => one !== undefined);
  }

  /** Compose lets many lists of one be written without the list. */
  listOrOne<T extends Json>(read: (at: Place) => T | undefined): T[] | undefined {
    if (this.item.kind === "list") return this.listOf(read);
    const one = read(this);
    return one === undefined ? undefined : [one];
  }

  /**
   * A map with known members. A member without a value is as if it were not there. `refused` says why
   * a member that compose has is not to be had here.
   */
  fields(
    allowed: ReadonlyMap<string, Reader>,
    refused: ReadonlyMap<string, string> = NONE,
  ): { [key: string]: Json } | undefined {
    const members = this.members();
    if (members === undefined) return undefined;
    const out: { [key: string]: Json } = {};
    for (const [key, member] of members) {
      if (key.startsWith("x-")) continue;
      const read = allowed.get(key);
      if (read === undefined) {
        member.refuse(refused.get(key) ?? "This key is not known, or not allowed here.");
        continue;
      }
      if (member.empty) continue;
      const value = read(member);
      if (value !== undefined) out[key] = value;
    }
    return out;
  }
}

const NONE: ReadonlyMap<string, string> = new Map();

/** A table of members; a Map, so that no name is found that is not in it. */
export const table = <T>(members: Record<string, T>): ReadonlyMap<string, T> =>
  new Map(Object.entries(members));

const list = (words: readonly string[]) =>
  words.length === 1 ? words[0] : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
