// SPDX-License-Identifier: Apache-2.0
/**
 * JSON for documents that are hashed and signed: every accepted text means one value to every
 * reader. The attacker holds a genuine signed document and a second parser that disagrees with ours
 * (which duplicate key wins, what a lone surrogate becomes, how 2^53+1 rounds); whatever parsers
 * are known to disagree on is refused here.
 *
 * `JSON.parse` with a check of its value is not enough: the duplicate is gone by then.
 */
export const JSON_BYTES_MAX = 256 * 1024;
export const JSON_DEPTH_MAX = 32;

export type StrictJsonCode =
  | "not_json"
  | "too_large"
  | "too_deep"
  | "duplicate_key"
  | "lone_surrogate"
  | "number_not_integer";

export type StrictJson =
  /** `integers`: no number had a fraction, an exponent, the form −0, or lay outside ±(2^53−1). */
  { ok: true; value: unknown; integers: boolean } | { ok: false; code: StrictJsonCode };

export interface StrictJsonOptions {
  /** Refuse what would make `integers` false. */
  integersOnly?: boolean;
}

class Refusal {
  readonly code: StrictJsonCode;
  constructor(code: StrictJsonCode) {
    this.code = code;
  }
}

/** Parses UTF-8 bytes (or text) into a value. Never throws. */
export function parseStrictJson(input: Uint8Array | string, options: StrictJsonOptions = {}): StrictJson {
  try {
    const text = typeof input === "string" ? boundedText(input) : decode(input);
    const { value, integers } = parsePlain(text) ?? parseAny(text);
    if (options.integersOnly === true && !integers) return { ok: false, code: "number_not_integer" };
    return { ok: true, value, integers };
  } catch (refusal) {
    if (refusal instanceof Refusal) return { ok: false, code: refusal.code };
    throw refusal;
  }
}

interface Parsed {
  value: unknown;
  integers: boolean;
}

function parseAny(text: string): Parsed {
  const reader = new Reader(text);
  return { value: reader.document(), integers: reader.integers };
}

/**
 * The common case, twice as fast: a text that is, unit for unit, what `JSON.stringify` writes for the
 * value it parses to. Such a text names no member twice (the writer visits each once), has no white
 * space, no second spelling of a number and, without `\\u`, no lone surrogate. Null sends the text to
 * the reader below, which alone refuses; it costs an attacker nothing and wins him nothing.
 */
function parsePlain(text: string): Parsed | null {
  if (text.includes("\\u")) return null;
  try {
    const value: unknown = JSON.parse(text);
    if (JSON.stringify(value) !== text) return null;
    const seen = { integers: true };
    return withinDepth(value, 0, seen) ? { value, integers: seen.integers } : null;
  } catch {
    return null;
  }
}

function withinDepth(value: unknown, depth: number, seen: { integers: boolean }): boolean {
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) seen.integers = false;
    return true;
  }
  if (typeof value !== "object" || value === null) return true;
  if (depth === JSON_DEPTH_MAX) return false;
  const inner = Array.isArray(value) ? value : Object.values(value);
  for (const one of inner) if (!withinDepth(one, depth + 1, seen)) return false;
  return true;
}

function boundedText(text: string): string {
  // A UTF-16 unit is at most three bytes of UTF-8, so most texts need no exact count.
  if (text.length > JSON_BYTES_MAX) throw new Refusal("too_large");
  if (text.length * 3 > JSON_BYTES_MAX && new TextEncoder().encode(text).length > JSON_BYTES_MAX) {
    throw new Refusal("too_large");
  }
  return text;
}

function decode(bytes: Uint8Array): string {
  if (bytes.length > JSON_BYTES_MAX) throw new Refusal("too_large");
  try {
    // `ignoreBOM` keeps a byte order mark in the text, where the grammar then refuses it.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refusal("not_json");
  }
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const INTEGER = /^-?[0-9]+$/;
const HEX4 = /^[0-9a-fA-F]{4}$/;
const ESCAPES: Record<string, string> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** Recursive descent; the recursion is bounded by JSON_DEPTH_MAX. */
class Reader {
  readonly #text: string;
  #at = 0;
  integers = true;

  constructor(text: string) {
    this.#text = text;
  }

  document(): unknown {
    const value = this.#value(0);
    this.#space();
    if (this.#at !== this.#text.length) throw new Refusal("not_json");
    return value;
  }

  #value(depth: number): unknown {
    this.#space();
    switch (this.#text.charCodeAt(this.#at)) {
      case 0x7b:
        return this.#object(depth + 1);
      case 0x5b:
        return this.#array(depth + 1);
      case 0x22:
        return this.#string();
      case 0x74:
        return this.#word("true", true);
      case 0x66:
        return this.#word("false", false);
      case 0x6e:
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  #object(depth: number): Record<string, unknown> {
    if (depth > JSON_DEPTH_MAX) throw new Refusal("too_deep");
    const object: Record<string, unknown> = {};
    this.#at++;
    this.#space();
    if (this.#take(0x7d)) return object;
    do {
      this.#space();
      if (this.#text.charCodeAt(this.#at) !== 0x22) throw new Refusal("not_json");
      const key = this.#string();
      if (Object.hasOwn(object, key)) throw new Refusal("duplicate_key");
      this.#space();
      if (!this.#take(0x3a)) throw new Refusal("not_json");
      const value = this.#value(depth);
      // Plain assignment to this one key would set the prototype and hide the member.
      if (key === "__proto__") {
        Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      } else object[key] = value;
      this.#space();
    } while (this.#take(0x2c));
    if (!this.#take(0x7d)) throw new Refusal("not_json");
    return object;
  }

  #array(depth: number): unknown[] {
    if (depth > JSON_DEPTH_MAX) throw new Refusal("too_deep");
    const array: unknown[] = [];
    this.#at++;
    this.#space();
    if (this.#take(0x5d)) return array;
    do {
      array.push(this.#value(depth));
      this.#space();
    } while (this.#take(0x2c));
    if (!this.#take(0x5d)) throw new Refusal("not_json");
    return array;
  }

  #string(): string {
    const text = this.#text;
    const start = ++this.#at;
    let surrogates = false;
    for (let at = start; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      if (unit === 0x22) {
        this.#at = at + 1;
        const value = text.slice(start, at);
        if (surrogates && !value.isWellFormed()) throw new Refusal("lone_surrogate");
        return value;
      }
      if (unit === 0x5c) return this.#escapedString(start, at);
      if (unit < 0x20) throw new Refusal("not_json");
      if ((unit & 0xf800) === 0xd800) surrogates = true;
    }
    throw new Refusal("not_json");
  }

  /** The same string once a backslash was seen at `first`: built piece by piece. */
  #escapedString(start: number, first: number): string {
    const text = this.#text;
    let value = text.slice(start, first);
    let at = first;
    for (;;) {
      const unit = text.charCodeAt(at);
      if (unit === 0x22) break;
      // NaN, past the end, fails the first comparison.
      if (!(unit >= 0x20)) throw new Refusal("not_json");
      if (unit !== 0x5c) {
        value += text[at++];
        continue;
      }
      const letter = text[at + 1] ?? "";
      if (letter === "u") {
        const digits = text.slice(at + 2, at + 6);
        if (!HEX4.test(digits)) throw new Refusal("not_json");
        value += String.fromCharCode(Number.parseInt(digits, 16));
        at += 6;
        continue;
      }
      const escaped = Object.hasOwn(ESCAPES, letter) ? ESCAPES[letter] : undefined;
      if (escaped === undefined) throw new Refusal("not_json");
      value += escaped;
      at += 2;
    }
    this.#at = at + 1;
    if (!value.isWellFormed()) throw new Refusal("lone_surrogate");
    return value;
  }

  #number(): number {
    NUMBER.lastIndex = this.#at;
    const digits = NUMBER.exec(this.#text)?.[0];
    if (digits === undefined) throw new Refusal("not_json");
    this.#at += digits.length;
    const value = Number(digits);
    if (!Number.isFinite(value)) throw new Refusal("number_not_integer");
    if (!Number.isSafeInteger(value) || Object.is(value, -0) || !INTEGER.test(digits)) this.integers = false;
    return value;
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw new Refusal("not_json");
    this.#at += word.length;
    return value;
  }

  #take(unit: number): boolean {
    if (this.#text.charCodeAt(this.#at) !== unit) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    for (;;) {
      const unit = this.#text.charCodeAt(this.#at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
      this.#at++;
    }
  }
}
