// SPDX-License-Identifier: Apache-2.0
/**
 * The client's text as a tree of plain values that remember their line. The attacker writes the text
 * and hopes that it means one thing here and another to Docker, or that reading it costs us more than
 * sending it cost him.
 *
 *  A. Only this tree is looked at from here on; what Docker reads is written anew from it.
 *  B. Whatever YAML readers are known to disagree on is refused: tags beyond the core ones, a second
 *     document, directives, keys that stand twice, keys that are no strings, an anchor named twice.
 *  C. Aliases and merge keys are expanded by sharing, so a bomb costs its own length; its size when
 *     expanded is counted while it is built, and bounded before anything walks it.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Pair,
  parseDocument,
  Scalar,
  Schema,
} from "yaml";
import { type Findings, memberPath } from "./findings.ts";

export const TEXT_BYTES_MAX = 1024 * 1024;
/** The parser needs some 8 µs and 1 KiB for a token, whatever the token says. */
export const TOKENS_MAX = 100_000;
/** The lexer makes three of a character at most. */
const TOKENS_OF_A_CHARACTER = 4;
export const DEPTH_MAX = 32;
/** Of the expanded tree. */
export const NODES_MAX = 50_000;
export const CHARACTERS_MAX = 4 * 1024 * 1024;
export const KEY_LENGTH_MAX = 256;
/** Entries copied by merge keys. */
const MERGED_MAX = 50_000;

interface Sized {
  line: number;
  /** Of the value with everything below it, expanded. */
  nodes: number;
  characters: number;
  height: number;
}

export type Item = Sized &
  (
    | { kind: "null" }
    | { kind: "text"; text: string }
    /** `written` is how the client spelled it, so that 0440 and 1.10 are not lost to arithmetic. */
    | { kind: "number"; value: number; written: string }
    | { kind: "flag"; value: boolean; written: string }
    | { kind: "list"; items: Item[] }
    | { kind: "map"; entries: Map<string, Entry> }
  );

export interface Entry {
  /** Where the key stands. */
  line: number;
  item: Item;
}

/** The tree of the text, or null; what is wrong is in `findings`. A tree may come with findings. */
export function readSource(text: string, findings: Findings): Item | null {
  const refusal = bound(text);
  if (refusal !== null) {
    findings.refuse("", 1, refusal);
    return null;
  }
  const lines = new LineCounter();
  const lineOf = (offset: number) => Math.max(1, lines.linePos(offset).line);
  const document = parse(text, lines);
  if (document === null) {
    findings.refuse("", 1, "The text nests deeper than can be read.");
    return null;
  }
  for (const error of document.errors) findings.refuse("", lineOf(error.pos[0]), syntaxMessage(error));
  const { yaml, tags } = document.directives;
  if ((yaml.explicit === true && yaml.version !== "1.2") || Object.keys(tags).length > 1) {
    findings.refuse("", 1, "Directives other than %YAML 1.2 are not allowed.");
  }
  if (findings.violations.length > 0) return null;
  const root = new Walk(text, findings, lineOf).read(document.contents);
  // The parser warns where it took a guess: an unresolved tag, an escape it does not know.
  if (findings.violations.length === 0) {
    for (const warning of document.warnings) {
      findings.refuse("", lineOf(warning.pos[0]), syntaxMessage(warning));
    }
  }
  if (root === null) return null;
  if (root.nodes > NODES_MAX || root.characters > CHARACTERS_MAX) {
    findings.refuse("", 1, "With its aliases expanded the document is too large.");
    return null;
  }
  if (root.height > DEPTH_MAX) {
    findings.refuse("", 1, `With its aliases expanded the document is nested deeper than ${DEPTH_MAX}.`);
    return null;
  }
  return root;
}

function bound(text: string): string | null {
  if (text.length > TEXT_BYTES_MAX || Buffer.byteLength(text) > TEXT_BYTES_MAX) {
    return `The text is larger than ${TEXT_BYTES_MAX} bytes.`;
  }
  if (!text.isWellFormed() || text.includes("\0")) return "The text holds characters that no file can hold.";
  if (text.length * TOKENS_OF_A_CHARACTER <= TOKENS_MAX) return null;
  let tokens = 0;
  for (const _ of new Lexer().lex(text)) {
    if (++tokens > TOKENS_MAX) return "The text has too many parts to be a compose file.";
  }
  return null;
}

/** The parser would make one for each text. Nothing is added to it while it reads, since no known tags are resolved. */
const CORE = new Schema({ schema: "core", merge: false, resolveKnownTags: false });

function parse(text: string, lineCounter: LineCounter) {
  try {
    return parseDocument(text, {
      version: "1.2",
      schema: CORE,
      // The parser compares every key with every earlier one; `Walk` uses a map.
      uniqueKeys: false,
      prettyErrors: false,
      lineCounter,
    });
  } catch {
    // The parser descends on the stack and catches most overflows itself.
    return null;
  }
}

function syntaxMessage(error: { code: string; message: string }): string {
  if (error.code === "RESOURCE_EXHAUSTION") return "The text nests deeper than can be read.";
  if (error.code === "MULTIPLE_DOCS") return "The text holds more than one YAML document.";
  // The parser quotes the text at some places; one line of it is enough.
  return `This is not valid YAML 1.2: ${(error.message.split("\n")[0] ?? "").slice(0, 200)}.`.replace(
    "..",
    ".",
  );
}

const CORE_SCALARS = new Set(
  ["str", "int", "float", "bool", "null"].map((name) => `tag:yaml.org,2002:${name}`),
);
/** Keys that reach into the prototype of whoever copies the document carelessly. */
const PROTOTYPE_KEYS = new Set(["__proto__", "constructor", "prototype"]);
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

class Walk {
  readonly #text: string;
  readonly #findings: Findings;
  readonly #lineOf: (offset: number) => number;
  /** Null while the anchored node is still being read. */
  readonly #anchors = new Map<string, Item | null>();
  #merged = 0;

  constructor(text: string, findings: Findings, lineOf: (offset: number) => number) {
    this.#text = text;
    this.#findings = findings;
    this.#lineOf = lineOf;
  }

  read(root: unknown): Item | null {
    return this.#node(root, "", 1, 1);
  }

  #refuse(path: string, line: number, message: string): null {
    this.#findings.refuse(path, line, message);
    return null;
  }

  /** Null when the node was refused. */
  #node(node: unknown, path: string, fallbackLine: number, level: number): Item | null {
    if (node === null || node === undefined) return leaf({ kind: "null" }, fallbackLine, 0);
    if (isAlias(node)) return this.#alias(node.source, path, this.#line(node, fallbackLine));
    const line = this.#line(node, fallbackLine);
    if (level > DEPTH_MAX) return this.#refuse(path, line, `This is nested deeper than ${DEPTH_MAX} levels.`);
    const anchor = (isScalar(node) || isMap(node) || isSeq(node)) && node.anchor ? node.anchor : null;
    if (anchor !== null) {
      if (this.#anchors.has(anchor)) {
        return this.#refuse(
          path,
          line,
          "An anchor of this name stands further up; give it a name of its own.",
        );
      }
      this.#anchors.set(anchor, null);
    }
    const item = this.#content(node, path, line, level);
    if (anchor !== null && item !== null) this.#anchors.set(anchor, item);
    return item;
  }

  #line(node: unknown, fallback: number): number {
    const range = (node as { range?: readonly number[] | null }).range;
    return range ? this.#lineOf(range[0]!) : fallback;
  }

  #alias(name: string, path: string, line: number): Item | null {
    const item = this.#anchors.get(name);
    if (item === undefined) return this.#refuse(path, line, "This alias names no anchor further up.");
    // Also when the anchored node was refused itself: that has been said.
    if (item === null) return this.#refuse(path, line, "This alias names a node that could not be read.");
    return item;
  }

  #content(node: unknown, path: string, line: number, level: number): Item | null {
    if (isMap(node)) {
      if (node.tag && node.tag !== "tag:yaml.org,2002:map") return this.#tagged(path, line);
      return this.#map(node.items as Pair[], path, line, level);
    }
    if (isSeq(node)) {
      if (node.tag && node.tag !== "tag:yaml.org,2002:seq") return this.#tagged(path, line);
      const items = node.items
        .map((one, index) => this.#node(one, `${path}[${index}]`, line, level + 1))
        .filter((one) => one !== null);
      return branch({ kind: "list", items }, line, items, 0);
    }
    if (isScalar(node)) return this.#scalar(node, path, line);
    return this.#refuse(path, line, "This cannot be read.");
  }

  #tagged(path: string, line: number): null {
    return this.#refuse(path, line, "YAML tags are not allowed here; write the value without one.");
  }

  #scalar(node: Scalar, path: string, line: number): Item | null {
    if (node.tag && !CORE_SCALARS.has(node.tag)) return this.#tagged(path, line);
    const value = this.#asWritten(node);
    const written = node.source ?? String(value);
    switch (typeof value) {
      case "string":
        if (value.includes("\0") || !value.isWellFormed()) {
          return this.#refuse(path, line, "This holds a character that no program can be given.");
        }
        return leaf({ kind: "text", text: value }, line, value.length);
      case "number":
        return leaf({ kind: "number", value, written }, line, written.length);
      case "boolean":
        return leaf({ kind: "flag", value, written }, line, 5);
      default:
        if (value === null) return leaf({ kind: "null" }, line, 0);
        return this.#tagged(path, line);
    }
  }

  /** The parser ends a block that runs to the end of the text with a line feed, even where there is none. */
  #asWritten(node: Scalar): unknown {
    const { value, type, range } = node;
    const block = type === Scalar.BLOCK_LITERAL || type === Scalar.BLOCK_FOLDED;
    const atEnd = range && range[1] >= this.#text.length && !this.#text.endsWith("\n");
    return block && atEnd && typeof value === "string" && value.endsWith("\n") ? value.slice(0, -1) : value;
  }

  #map(pairs: readonly Pair[], path: string, line: number, level: number): Item {
    const entries = new Map<string, Entry>();
    let merge: { item: Item | null; line: number } | null = null;
    for (const pair of pairs) {
      const keyLine = this.#line(pair.key ?? {}, line);
      const key = this.#key(pair.key, path, keyLine);
      if (key === null) continue;
      if (key === "<<" && (pair.key as Scalar).type === Scalar.PLAIN) {
        const merged = memberPath(path, key);
        if (merge !== null) this.#refuse(merged, keyLine, "Merge several maps as a list: <<: [*a, *b].");
        else merge = { item: this.#node(pair.value, merged, keyLine, level + 1), line: keyLine };
        continue;
      }
      const inner = memberPath(path, key);
      const refusal = keyRefusal(key);
      if (refusal !== null) this.#refuse(inner, keyLine, refusal);
      const item = this.#node(pair.value, inner, keyLine, level + 1);
      if (refusal !== null || item === null) continue;
      if (entries.has(key)) this.#refuse(inner, keyLine, "This key stands twice.");
      else entries.set(key, { line: keyLine, item });
    }
    if (merge?.item) this.#merge(merge.item, entries, memberPath(path, "<<"), merge.line);
    const items = [...entries.values()].map((entry) => entry.item);
    let keys = 0;
    for (const key of entries.keys()) keys += key.length;
    return branch({ kind: "map", entries }, line, items, keys);
  }

  #key(node: unknown, path: string, line: number): string | null {
    if (!isScalar(node) || typeof node.value !== "string") {
      return this.#refuse(path, line, "A key here is not a string; put it in quotes.");
    }
    if (node.tag && node.tag !== "tag:yaml.org,2002:str") return this.#tagged(path, line);
    if (node.anchor) this.#node(node, path, line, 1);
    return node.value;
  }

  /** YAML 1.1's `<<`, which compose files use: what stands in the map itself goes before what is merged. */
  #merge(item: Item, entries: Map<string, Entry>, path: string, line: number): void {
    const sources = item.kind === "list" ? item.items : [item];
    for (const source of sources) {
      if (source.kind !== "map") {
        this.#refuse(path, line, "Only maps, or a list of maps, can be merged.");
        return;
      }
      this.#merged += source.entries.size + 1;
      if (this.#merged > MERGED_MAX) {
        this.#refuse(path, line, "Too much is merged here.");
        return;
      }
      for (const [key, entry] of source.entries) if (!entries.has(key)) entries.set(key, entry);
    }
  }
}

function keyRefusal(key: string): string | null {
  if (key === "<<") return "A key of this name is not allowed.";
  if (PROTOTYPE_KEYS.has(key)) return "A key of this name is not allowed.";
  if (key.length > KEY_LENGTH_MAX) return `A key is longer than ${KEY_LENGTH_MAX} characters.`;
  if (key.includes("$")) return "Variables are not replaced in keys; a key cannot hold a dollar sign.";
  if (CONTROL.test(key) || !key.isWellFormed()) return "A key holds a control character.";
  return null;
}

// biome-ignore lint/suspicious/noExplicitAny: the parts of a union, joined with its sizes
type Part = any;

function leaf(part: Part, line: number, characters: number): Item {
  return { ...part, line, nodes: 1, characters, height: 1 };
}

function branch(part: Part, line: number, items: readonly Item[], ownCharacters: number): Item {
  let nodes = 1;
  let characters = ownCharacters;
  let height = 0;
  for (const item of items) {
    nodes += item.nodes;
    characters += item.characters;
    height = Math.max(height, item.height);
  }
  return { ...part, line, nodes, characters, height: height + 1 };
}
