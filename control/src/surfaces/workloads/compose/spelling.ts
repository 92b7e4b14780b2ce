// SPDX-License-Identifier: Apache-2.0
/**
 * Writes a value as YAML in one of the many ways that YAML has for it, for tests of what a spelling can
 * hide: block and flow, four kinds of quotes, escapes, explicit keys, tags, comments, aliases, merge keys.
 */
type Value = string | number | boolean | null | Value[] | { [key: string]: Value };

/** A number below `n`; which one is the test's to choose. */
type Pick = (n: number) => number;

export function spell(root: { [key: string]: Value }, pick: Pick): string {
  const speller = new Speller(pick);
  const body = speller.block(root, 0);
  return [...speller.hoisted, ...body, ""].join("\n");
}

class Speller {
  readonly hoisted: string[] = [];
  readonly #pick: Pick;

  constructor(pick: Pick) {
    this.#pick = pick;
  }

  /** The lines of a map or list that stands at an indentation of its own. */
  block(value: Value, indent: number): string[] {
    const pad = " ".repeat(indent);
    if (Array.isArray(value)) {
      return value.flatMap((one) => this.#member(`${pad}-`, one, indent));
    }
    const lines: string[] = [];
    const { own, merged } = this.#split(value as { [key: string]: Value }, indent > 0);
    if (merged !== null) lines.push(`${pad}<<: ${merged}`);
    for (const [key, inner] of Object.entries(own)) {
      if (this.#pick(8) === 0) lines.push(`${pad}# privileged: false`);
      if (this.#pick(8) === 0) {
        lines.push(`${pad}? ${this.#string(key, true)}`, ...this.#member(`${pad}:`, inner, indent));
      } else lines.push(...this.#member(`${pad}${this.#string(key, true)}:`, inner, indent));
    }
    return lines;
  }

  /** Part of a map that is written elsewhere and merged. */
  #split(map: { [key: string]: Value }, may: boolean) {
    const entries = Object.entries(map);
    if (!may || entries.length < 2 || this.#pick(4) !== 0) return { own: map, merged: null };
    const at = this.#pick(entries.length);
    const [there] = entries.splice(at, 1);
    const alias = this.#hoist(Object.fromEntries([there!]));
    const own = Object.fromEntries(entries);
    return { own, merged: this.#pick(2) === 0 ? alias : `[${alias}]` };
  }

  #hoist(value: Value): string {
    const name = `a${this.hoisted.length}-${this.#pick(1000)}`;
    const text = this.flow(value);
    this.hoisted.push(`x-${name}: &${name} ${text}`);
    return `*${name}`;
  }

  #member(head: string, value: Value, indent: number): string[] {
    const full = typeof value === "object" && value !== null && Object.keys(value).length > 0;
    if (full && this.#pick(3) > 0) {
      const tag = this.#pick(6) === 0 ? (Array.isArray(value) ? " !!seq" : " !!map") : "";
      return [`${head}${tag}`, ...this.block(value, indent + 1 + this.#pick(4))];
    }
    if (this.#pick(6) === 0) return [`${head} ${this.#hoist(value)}`];
    const text = this.flow(value);
    return [`${head} ${text}${this.#pick(10) === 0 ? " # : [{" : ""}`];
  }

  flow(value: Value): string {
    if (typeof value === "string") return this.#string(value, false);
    if (typeof value !== "object" || value === null) return String(value);
    if (Array.isArray(value)) return `[${value.map((one) => this.flow(one)).join(", ")}]`;
    const members = Object.entries(value).map(
      ([key, one]) => `${this.#string(key, true)}: ${this.flow(one)}`,
    );
    return `{${members.join(", ")}}`;
  }

  #string(text: string, key: boolean): string {
    const words = /^(?:true|false|null|y|n)$/i;
    const tag = !key && this.#pick(8) === 0 ? "!!str " : "";
    const style = this.#pick(3);
    if (style === 0 && /^[a-z_][a-z0-9_./-]*$/i.test(text) && !words.test(text)) return `${tag}${text}`;
    if (style === 1 && /^[\x20-\x7e]*$/.test(text)) return `${tag}'${text.replaceAll("'", "''")}'`;
    return `${tag}"${[...text].map((one) => this.#escape(one)).join("")}"`;
  }

  #escape(character: string): string {
    const code = character.codePointAt(0)!;
    const hex = (digits: number) => code.toString(16).padStart(digits, "0");
    const plain = /^[\x20-\x7e]$/.test(character) && character !== '"' && character !== "\\";
    if (plain && this.#pick(4) > 0) return character;
    const style = this.#pick(3);
    if (style === 0 && code < 0x100) return `\\x${hex(2)}`;
    return code < 0x10000 && style < 2 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
  }
}
