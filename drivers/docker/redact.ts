// SPDX-License-Identifier: Apache-2.0
/**
 * Words that go into a log or an answer, without the payload's secrets: what a program prints when it
 * fails may well be the password that it failed with.
 *
 * The attacker sends a payload with very many secrets, or has his program print very much, to make this
 * process busy with comparing one with the other. So the work is bounded by both lengths and never by
 * their product:
 *  A. A secret is known by its first 32 characters. What begins like a longer one is taken out to the
 *     end of its line; secrets are lines, so none goes on behind it.
 *  B. At each character of the text a set is asked once for every length there is of those, 27 times at
 *     the most.
 *  C. Of a payload with more secrets than a person would write no words are let out at all, and of very
 *     long words only the last lines.
 */
import type { ComposePayload } from "#contract/link/payload.ts";

/** Shorter values (`1`, `true`) are no secrets, and a text without them could not be read. */
const CHARACTERS_MIN = 6;
const KEY_CHARACTERS = 32;
const FILE_BYTES_MAX = 8 * 1024;
const SECRETS_MAX = 100_000;
const SECRET_CHARACTERS_MAX = 16 * 1024 * 1024;
const TEXT_CHARACTERS_MAX = 16 * 1024;
const TAKEN_OUT = "***";

export interface Redactor {
  (text: string): string;
  /** How often a set was asked so far. */
  readonly asked: number;
}

export function redactor(payload: ComposePayload): Redactor {
  const keys = keysOf(payload);
  let asked = 0;
  const clean = (text: string): string => {
    if (keys === null) return TAKEN_OUT;
    const { heads, whole, begun, lengths } = keys;
    const words = lastLines(text);
    let out = "";
    let shownTo = 0;
    let lineEnd = -1;
    for (let at = 0; at + CHARACTERS_MIN <= words.length; at++) {
      asked++;
      if (!heads.has(words.slice(at, at + CHARACTERS_MIN))) continue;
      let end = 0;
      for (const length of lengths) {
        if (at + length > words.length) continue;
        asked++;
        const key = words.slice(at, at + length);
        if (length === KEY_CHARACTERS && begun.has(key)) {
          if (at >= lineEnd) lineEnd = endOfLine(words, at);
          end = lineEnd;
        }
        if (end === 0 && whole.has(key)) end = at + length;
        if (end > 0) break;
      }
      // Secrets may overlap: what was taken out already grows.
      if (end <= shownTo) continue;
      out += at >= shownTo ? words.slice(shownTo, at) + TAKEN_OUT : "";
      shownTo = end;
    }
    return out + words.slice(shownTo);
  };
  return Object.defineProperty(clean, "asked", { get: () => asked }) as unknown as Redactor;
}

interface Keys {
  heads: ReadonlySet<string>;
  /** Secrets that are no longer than a key. */
  whole: ReadonlySet<string>;
  /** How longer ones begin. */
  begun: ReadonlySet<string>;
  /** Longest first. */
  lengths: readonly number[];
}

/** C: null. */
function keysOf(payload: ComposePayload): Keys | null {
  const heads = new Set<string>();
  const whole = new Set<string>();
  const begun = new Set<string>();
  const lengths = new Set<number>();
  let characters = 0;
  let secrets = 0;
  for (const value of valuesOf(payload)) {
    characters += value.length;
    if (characters > SECRET_CHARACTERS_MAX) return null;
    for (const line of value.split("\n", SECRETS_MAX + 1)) {
      const secret = line.trim();
      if (secret.length < CHARACTERS_MIN) continue;
      if (++secrets > SECRETS_MAX) return null;
      const key = secret.slice(0, KEY_CHARACTERS);
      heads.add(key.slice(0, CHARACTERS_MIN));
      (secret.length > KEY_CHARACTERS ? begun : whole).add(key);
      lengths.add(key.length);
    }
  }
  return { heads, whole, begun, lengths: [...lengths].sort((a, b) => b - a) };
}

function* valuesOf({ env, registries, files }: ComposePayload): Generator<string> {
  yield* Object.values(env);
  for (const { password } of registries) yield password;
  for (const each of Object.values(files))
    if (each.length < FILE_BYTES_MAX) yield Buffer.from(each, "base64").toString();
}

/** A cut within a line would leave the end of a secret whose beginning is gone. */
function lastLines(text: string): string {
  if (text.length <= TEXT_CHARACTERS_MAX) return text;
  const from = text.indexOf("\n", text.length - TEXT_CHARACTERS_MAX);
  return from < 0 ? TAKEN_OUT : TAKEN_OUT + text.slice(from);
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end;
}
