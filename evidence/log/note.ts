// SPDX-License-Identifier: Apache-2.0
/**
 * Signed notes (C2SP signed-note, v1.0.0): a text, an empty line, and a line for each signature.
 *
 * The attacker chooses the whole note. A signature counts only when its name and its four bytes of
 * key id are those of a key that the reader brought; lines of others are carried and mean nothing.
 * What has a second spelling is no note: one text, one set of bytes.
 */
import { fromBase64, toBase64Text, utf8 } from "../proofs/encoding.ts";
import { isSoundSignature, signatureHolds, spkiOfRaw } from "../proofs/keys.ts";
import { sha256 } from "../proofs/primitives.ts";
import { same } from "./tree.ts";

/** A whole note, bytes; a checkpoint of ours with ten cosignatures has less than 3 KiB. */
const NOTE_MAX = 64 * 1024;
const SIGNATURES_MAX = 64;

/** How a key signs: the note's text itself, or (C2SP tlog-cosignature) the text with a time before it. */
export const ED25519 = 1;
export const COSIGNATURE = 4;
export type KeyType = typeof ED25519 | typeof COSIGNATURE;

/** Who signs notes: in text form `name+hex(id)+base64(type ‖ key)`, as C2SP writes keys of verifiers. */
export interface NoteKey {
  name: string;
  type: KeyType;
  /** 32 bytes. */
  raw: Uint8Array;
}

export interface NoteSignature {
  name: string;
  /** Key id (4 bytes) and what the key type says follows. */
  bytes: Uint8Array;
}

export interface Note {
  /** Ends in a line feed. */
  text: string;
  signatures: NoteSignature[];
}

const isName = (name: string) => name !== "" && !/[\s+\p{Cc}]/u.test(name);

export const base64Of = (bytes: Uint8Array): string => toBase64Text(bytes).slice("base64:".length);

/** The first four bytes of SHA-256 over name, line feed, type and key. */
export function keyIdOf({ name, type, raw }: NoteKey): Uint8Array {
  return sha256(join(utf8(`${name}\n`), Uint8Array.of(type), raw)).subarray(0, 4);
}

export function writeNoteKey(key: NoteKey): string {
  const id = Array.from(keyIdOf(key), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${key.name}+${id}+${base64Of(join(Uint8Array.of(key.type), key.raw))}`;
}

/** Null for text that is no key, names another id than its own, or could be forged for (small order). */
export function readNoteKey(text: string): NoteKey | null {
  // Base64 has `+` in its alphabet; a name and an id have not.
  const [, name, encoded] = /^([^+]+)\+[^+]+\+(.+)$/.exec(text) ?? [];
  if (name === undefined || encoded === undefined || !isName(name)) return null;
  const bytes = fromBase64(encoded);
  if (bytes?.length !== 33 || (bytes[0] !== ED25519 && bytes[0] !== COSIGNATURE)) return null;
  const key: NoteKey = { name, type: bytes[0], raw: bytes.subarray(1) };
  if (typeof spkiOfRaw(key.raw) === "string") return null;
  return writeNoteKey(key) === text ? key : null;
}

/** Null for what is no note, or not the only spelling of one. */
export function readNote(bytes: Uint8Array | string): Note | null {
  const text = typeof bytes === "string" ? bytes : decode(bytes);
  if (text === null || text.length > NOTE_MAX || hasControls(text)) return null;
  const cut = text.lastIndexOf("\n\n");
  if (cut < 1 || !text.endsWith("\n")) return null;
  const lines = text.slice(cut + 2, -1).split("\n");
  if (lines.length > SIGNATURES_MAX) return null;
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const [, name, encoded] = /^\u2014 (\S+) (\S+)$/u.exec(line) ?? [];
    if (name === undefined || encoded === undefined || !isName(name)) return null;
    const signature = fromBase64(encoded);
    if (signature === null || signature.length < 5) return null;
    signatures.push({ name, bytes: signature });
  }
  return { text: text.slice(0, cut + 1), signatures };
}

function decode(bytes: Uint8Array): string | null {
  if (bytes.length > NOTE_MAX) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Controls but the line feed, and halves of surrogate pairs, which are no text. */
function hasControls(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if ((code < 0x20 && code !== 0x0a) || code === 0x7f) return true;
  }
  return !text.isWellFormed();
}

export function writeNote({ text, signatures }: Note): string {
  return `${text}\n${signatures.map(({ name, bytes }) => `\u2014 ${name} ${base64Of(bytes)}\n`).join("")}`;
}

/**
 * What `key` has signed of this note: null when nothing of it holds, else the time of a cosignature
 * (seconds since 1970), or null as `atSeconds` for a signature, which has none.
 */
export function signedBy(note: Note, key: NoteKey): { atSeconds: number | null } | null {
  const id = keyIdOf(key);
  const spki = spkiOfRaw(key.raw);
  if (typeof spki === "string") return null;
  for (const { name, bytes } of note.signatures) {
    if (name !== key.name || !same(bytes.subarray(0, 4), id)) continue;
    const rest = bytes.subarray(4);
    const atSeconds = key.type === COSIGNATURE ? readSeconds(rest) : null;
    if (key.type === COSIGNATURE && atSeconds === null) continue;
    const signature = key.type === COSIGNATURE ? rest.subarray(8) : rest;
    if (!isSoundSignature(signature)) continue;
    if (signatureHolds(spki, signedBytes(note.text, atSeconds), signature)) return { atSeconds };
  }
  return null;
}

/** What is signed: the text, with a line of purpose and time before it in a cosignature. */
function signedBytes(text: string, atSeconds: number | null): Uint8Array {
  return utf8(atSeconds === null ? text : `cosignature/v1\ntime ${atSeconds}\n${text}`);
}

/** `sign` holds the private key; this library never does. */
export function signNote(
  text: string,
  key: NoteKey,
  sign: (message: Uint8Array) => Uint8Array,
  atSeconds: number | null = null,
): NoteSignature {
  if ((key.type === COSIGNATURE) !== (atSeconds !== null))
    throw new TypeError("a cosignature, and nothing else, has a time");
  const time = atSeconds === null ? new Uint8Array() : writeSeconds(atSeconds);
  return { name: key.name, bytes: join(keyIdOf(key), time, sign(signedBytes(text, atSeconds))) };
}

function readSeconds(bytes: Uint8Array): number | null {
  if (bytes.length !== 72) return null;
  const seconds = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
  return seconds > BigInt(Number.MAX_SAFE_INTEGER) ? null : Number(seconds);
}

function writeSeconds(seconds: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(seconds));
  return bytes;
}

export function join(...parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
