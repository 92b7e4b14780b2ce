// SPDX-License-Identifier: Apache-2.0
/**
 * Proofs of control over a name, as TXT records below it: what a certificate authority or a custom
 * domain's check asks for. Kept in this process and forgotten when their time is over: a proof that
 * stays is one that somebody else may use. The number is bounded, because customers cause them.
 */
import { parseName, plainText } from "./wire/domain-name.ts";

export interface Challenges {
  /** `name` in full, beginning with an underscore. A name may have several values at once (RFC 8555, 8.4). */
  put(name: string, value: string): void;
  remove(name: string, value: string): void;
  find(name: string): string[];
  /** Is something kept below this name? */
  hasBelow(name: string): boolean;
  /** Grows with every change. */
  version(): number;
}

export interface ChallengeLimits {
  lifetimeMs: number;
  challengesMax: number;
}

export const CHALLENGE_LIMITS: ChallengeLimits = { lifetimeMs: 3_600_000, challengesMax: 10_000 };

const VALUE = /^[\x21-\x7e]{1,255}$/;
const ASIDE = /^_(acme|casemate)-challenge\./;

interface Kept {
  name: string;
  value: string;
  endsAtMs: number;
}

/** `now` in milliseconds of a clock that does not go back. */
export function openChallenges(limits = CHALLENGE_LIMITS, now = () => performance.now()): Challenges {
  // In the order in which they end.
  const kept = new Map<string, Kept>();
  const values = new Map<string, Set<string>>();
  const parents = new Map<string, number>();
  let version = 0;

  const drop = (key: string) => {
    const one = kept.get(key);
    if (one === undefined) return;
    kept.delete(key);
    const set = values.get(one.name)!;
    set.delete(one.value);
    if (set.size === 0) values.delete(one.name);
    for (const parent of parentsOf(one.name)) {
      const left = parents.get(parent)! - 1;
      if (left === 0) parents.delete(parent);
      else parents.set(parent, left);
    }
    version += 1;
  };
  const expire = () => {
    for (const [key, { endsAtMs }] of kept) {
      if (endsAtMs > now()) return;
      drop(key);
    }
  };

  return {
    put: (text, value) => {
      const name = challengeName(text);
      if (!VALUE.test(value)) throw new Error("a challenge is 1 to 255 printable characters");
      expire();
      drop(keyOf(name, value));
      if (kept.size >= limits.challengesMax) throw new Error("there are too many challenges");
      kept.set(keyOf(name, value), { name, value, endsAtMs: now() + limits.lifetimeMs });
      values.set(name, (values.get(name) ?? new Set()).add(value));
      for (const parent of parentsOf(name)) parents.set(parent, (parents.get(parent) ?? 0) + 1);
      version += 1;
    },
    remove: (text, value) => drop(keyOf(challengeName(text), value)),
    find: (name) => {
      expire();
      return [...(values.get(name) ?? [])];
    },
    hasBelow: (name) => {
      expire();
      return parents.has(name);
    },
    version: () => {
      expire();
      return version;
    },
  };
}

const keyOf = (name: string, value: string) => `${name} ${value}`;

function challengeName(text: string): string {
  const parsed = parseName(text);
  const name = parsed === null ? null : plainText(parsed);
  // Nothing else can be put: a challenge must never stand in a workload's place.
  if (name === null || !ASIDE.test(name))
    throw new Error(`${JSON.stringify(text)} is not the name of a challenge`);
  return name;
}

function* parentsOf(name: string): Generator<string> {
  for (let at = name.indexOf("."); at !== -1; at = name.indexOf(".", at + 1)) yield name.slice(at + 1);
}
