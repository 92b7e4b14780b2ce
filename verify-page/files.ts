// SPDX-License-Identifier: Apache-2.0
/**
 * What each file that was dropped is, by its content alone: people rename files, and none should have to say which
 * is which. A file is one kind or none; what is none is named as not used and never passed over silently.
 */
import { type OpenedCheckpoint, openCheckpoint } from "../evidence/log/checkpoint.ts";
import { type NoteKey, readNoteKey } from "../evidence/log/note.ts";
import { PinnedIssuer } from "../evidence/proofs/certificate.ts";
import { JSON_BYTES_MAX, parseStrictJson } from "../evidence/proofs/strict-json.ts";

/** One byte more than any document may have is enough to say that it is too large. */
export const READ_BYTES_MAX = JSON_BYTES_MAX + 1;

export interface GivenFile {
  name: string;
  /** At most `READ_BYTES_MAX` of it. */
  bytes: Uint8Array;
}

export type Members = Record<string, unknown>;

/** What the files are together. Of a kind that there can be one of, the last counts. */
export interface Given {
  proof: { name: string; bytes: Uint8Array } | null;
  issuers: PinnedIssuer[];
  /** Public keys by key id, as `GET /v1/keys/:id` has them. */
  knownKeys: Map<string, string>;
  checkpoint: OpenedCheckpoint | null;
  inclusion: { value: unknown } | null;
  logKeys: NoteKey[];
  trustChain: { value: unknown } | null;
  policy: { value: Members } | null;
  /** File by file, in order: what it was taken for. */
  taken: { name: string; as: string; used: boolean }[];
}

export function sortFiles(files: readonly GivenFile[]): Given {
  const given: Given = {
    ...{ proof: null, checkpoint: null, inclusion: null, trustChain: null, policy: null },
    ...{ issuers: [], knownKeys: new Map(), logKeys: [], taken: [] },
  };
  const strays: { file: GivenFile; entry: Given["taken"][number] }[] = [];
  for (const file of files) {
    const as = take(given, file);
    const entry = { name: file.name, as: as ?? "not recognised", used: as !== null };
    given.taken.push(entry);
    if (as === null) strays.push({ file, entry });
  }
  // What is nothing that is known here is judged as the proof, if nothing else is one: garbage gets a verdict too.
  const stray = given.proof === null ? strays.at(-1) : undefined;
  if (stray !== undefined) {
    given.proof = stray.file;
    Object.assign(stray.entry, { as: "judged as the proof", used: true });
  }
  return given;
}

/** What it was taken for; null for nothing. */
function take(given: Given, file: GivenFile): string | null {
  const parsed = parseStrictJson(file.bytes);
  if (!parsed.ok) {
    const checkpoint = openCheckpoint(file.bytes);
    if (checkpoint === null) return null;
    given.checkpoint = checkpoint;
    return `a checkpoint of the log ${checkpoint.origin}, ${checkpoint.size} entries`;
  }
  const { value } = parsed;
  if (Array.isArray(value)) return takeIssuers(given, value);
  if (!isMembers(value)) return null;
  if (has(value, "cdp_version") || isMembers(own(value, "cdp"))) {
    given.proof = file;
    return has(value, "cdp_version") ? "the proof" : "the answer that carries the proof";
  }
  if (has(value, "checkpoint") && has(value, "proof") && has(value, "index")) {
    given.inclusion = { value };
    return "where the proof is in the log";
  }
  if (has(value, "issuerId")) return takeIssuers(given, [value]);
  if (has(value, "key_id") && has(value, "public_key")) return takeKey(given, value);
  if (has(value, "origin") && has(value, "keys")) return takeLogKeys(given, value);
  if (has(value, "authorities")) {
    given.trustChain = { value };
    return "the trust chain of an AuditProof";
  }
  const policy = own(value, "policy");
  const inner = isMembers(policy) ? policy : value;
  if (has(inner, "required_region") || has(inner, "required_authority_id")) {
    given.policy = { value: inner };
    return "your demands on an AuditProof";
  }
  return null;
}

/** All or none: one mistyped key would make every proof of that issuer look forged. */
function takeIssuers(given: Given, list: readonly unknown[]): string | null {
  const issuers: PinnedIssuer[] = [];
  for (const one of list) {
    const [issuerId, publicKey] = isMembers(one) ? [own(one, "issuerId"), own(one, "publicKey")] : [];
    if (typeof issuerId !== "string" || typeof publicKey !== "string") return null;
    const prefixed = publicKey.startsWith("base64:") ? publicKey : `base64:${publicKey}`;
    try {
      issuers.push(new PinnedIssuer({ issuerId, publicKey: prefixed }));
    } catch {
      return null;
    }
  }
  if (issuers.length === 0) return null;
  given.issuers.push(...issuers);
  return issuers.length === 1
    ? `the key of the issuer ${issuers[0]!.issuerId}`
    : `${issuers.length} keys of issuers`;
}

function takeKey(given: Given, document: Members): string | null {
  const [id, key] = [own(document, "key_id"), own(document, "public_key")];
  if (typeof id !== "string" || typeof key !== "string") return null;
  given.knownKeys.set(id, key);
  return `the key ${id}`;
}

function takeLogKeys(given: Given, document: Members): string | null {
  const list = own(document, "keys");
  if (!Array.isArray(list) || list.length === 0) return null;
  const keys = list.map((one) => {
    const text = isMembers(one) ? own(one, "key") : null;
    return typeof text === "string" ? readNoteKey(text) : null;
  });
  if (!keys.every((key) => key !== null)) return null;
  given.logKeys.push(...keys);
  return keys.length === 1 ? "a key of the log" : `${keys.length} keys of the log`;
}

export const isMembers = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const own = (value: Members, name: string): unknown =>
  Object.hasOwn(value, name) ? value[name] : undefined;
const has = (value: Members, name: string) => Object.hasOwn(value, name);
