// SPDX-License-Identifier: Apache-2.0
/**
 * The members of one part of a policy file, each taken by the rule it has. All faults are collected, and a
 * member that nobody took is one: a mistyped member would be a demand that nobody makes.
 */
import { fromHex } from "../bytes.ts";

const LIST_MAX = 256;

export type Opened = { ok: true; members: PolicyMembers; faults: string[] } | { ok: false; faults: string[] };

/** @param path How the part is called in faults, such as `snp`. */
export function openMembers(path: string, value: unknown): Opened {
  const from = objectOf(value);
  if (from === null) return { ok: false, faults: [`${path} must be an object`] };
  const faults: string[] = [];
  return { ok: true, members: new PolicyMembers(path, from, faults), faults };
}

export class PolicyMembers {
  readonly #path: string;
  readonly #from: Record<string, unknown>;
  readonly #faults: string[];
  readonly #known = new Set<string>();

  constructor(path: string, from: Record<string, unknown>, faults: string[]) {
    this.#path = path;
    this.#from = from;
    this.#faults = faults;
  }

  take(name: string): unknown {
    this.#known.add(name);
    return Object.hasOwn(this.#from, name) ? this.#from[name] : undefined;
  }

  /** Null when it is not there, or not what it must be; an empty list is the second. */
  list<T>(name: string, isOne: (one: unknown) => one is T, rule: string): T[] | null {
    const given = this.take(name);
    if (given === undefined) return null;
    if (Array.isArray(given) && given.length > 0 && given.length <= LIST_MAX && given.every(isOne))
      return given;
    this.#faults.push(`${this.#path}.${name} must be a list of ${rule}`);
    return null;
  }

  hex(name: string, bytes: number): string[] | null {
    const isHex = (one: unknown): one is string => typeof one === "string" && fromHex(one)?.length === bytes;
    const given = this.list(name, isHex, `${bytes * 2} hex digits each`);
    return given?.map((one) => one.toLowerCase()) ?? null;
  }

  flag(name: string): boolean | undefined {
    const given = this.take(name);
    if (given === undefined || typeof given === "boolean") return given;
    this.#faults.push(`${this.#path}.${name} must be true or false`);
    return undefined;
  }

  count(name: string): number | undefined {
    const given = this.take(name);
    if (given === undefined || (Number.isSafeInteger(given) && (given as number) >= 0))
      return given as number | undefined;
    this.#faults.push(`${this.#path}.${name} must be a number`);
    return undefined;
  }

  refuseOthers(): void {
    for (const name of Object.keys(this.#from))
      if (!this.#known.has(name)) this.#faults.push(`${this.#path}.${printable(name)} is not known`);
  }
}

export const objectOf = (value: unknown) =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;

export const printable = (name: string) => (/^[\w.-]{1,64}$/.test(name) ? name : "a member");
