// SPDX-License-Identifier: Apache-2.0
/**
 * From input to the document in it, and under which rules it is to be judged. The rules follow from
 * `cdp_version` and `profile` alone, and a document of ours without its profile is judged as the
 * original's, whose hashes it does not have: deleting a member leads to no weaker verdict.
 */
import { parseStrictJson } from "./strict-json.ts";
import type { Failure } from "./verdict.ts";

export type Members = Record<string, unknown>;

/** A document taken out of its input once, so that a caller can look its key up before verifying. */
export class OpenProof {
  readonly document: Members;
  readonly kind: "casemate-cdp/1" | "original" | "auditproof";
  /** Why it cannot be judged at all, or null. */
  readonly failure: Failure | null;

  constructor(document: Members, kind: OpenProof["kind"], failure: Failure | null) {
    this.document = document;
    this.kind = kind;
    this.failure = failure;
  }

  /** The key id the document names; unverified, good for looking up and nothing else. */
  get keyId(): string | null {
    const keyId = member(member(this.document, "attestation"), "key_id");
    return typeof keyId === "string" ? keyId : null;
  }
}

/** Opens bytes, text or a value. Never throws. */
export function openProof(input: unknown): OpenProof {
  const text = input instanceof Uint8Array || typeof input === "string" ? input : asText(input);
  if (text === null) return unreadable("not_json");
  const parsed = parseStrictJson(text);
  if (!parsed.ok) return unreadable(parsed.code);
  if (!isMembers(parsed.value)) return unreadable("not_an_object");
  const document = unwrap(parsed.value);
  const { kind, failure } = classify(document);
  if (failure === null && kind === "casemate-cdp/1" && !parsed.integers) {
    return new OpenProof(document, kind, "number_not_integer");
  }
  return new OpenProof(document, kind, failure);
}

const unreadable = (failure: Failure) => new OpenProof({}, "original", failure);

/** A value is brought to text first, so that getters, `toJSON` and cycles end here. */
function asText(value: unknown): string | null {
  try {
    return JSON.stringify(value) ?? null;
  } catch {
    return null;
  }
}

/** The answer to a session's end carries the document as `cdp`. A bare document has no such member. */
export function unwrap(value: Members): Members {
  const inner = member(value, "cdp");
  return isMembers(inner) && !Object.hasOwn(value, "cdp_version") ? inner : value;
}

function classify(document: Members): Pick<OpenProof, "kind" | "failure"> {
  const version = member(document, "cdp_version");
  if (version === "2.0" || version === "2.1" || version === "2.2") {
    return { kind: "auditproof", failure: null };
  }
  if (version !== "1.0") return { kind: "original", failure: "unsupported_version" };
  if (!Object.hasOwn(document, "profile")) return { kind: "original", failure: null };
  if (document.profile !== "casemate-cdp/1") return { kind: "original", failure: "unsupported_profile" };
  const algorithm = member(member(document, "attestation"), "algorithm");
  const foreign = typeof algorithm === "string" && algorithm !== "Ed25519";
  return { kind: "casemate-cdp/1", failure: foreign ? "unsupported_algorithm" : null };
}

export function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An own member, undefined when it is missing: a document cannot borrow one from the prototype. */
export function member(value: unknown, name: string): unknown {
  return isMembers(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}
