// SPDX-License-Identifier: Apache-2.0
/**
 * The trust chain manifest: which keys speak for which authority, signed by one identity key whose
 * fingerprint the reader got elsewhere. Checked before any document: a manifest that does not hold is a
 * fault of the set-up and never a verdict, nor a reason to go on without one.
 */
import { fromBase64, utf8 } from "../proofs/encoding.ts";
import { isSoundSignature, signatureHolds, spkiOfRaw } from "../proofs/keys.ts";
import { sha256Hex } from "../proofs/primitives.ts";
import { isMembers, type Members, member } from "../proofs/reading.ts";
import { canonical, textOr } from "./hash.ts";

export type ManifestFault = "malformed" | "fingerprint_mismatch" | "signature_invalid";

export interface Manifest {
  /** The key of this version, 32 raw bytes, as base64 text; null when the authority has none. */
  find(authority: string, version: string): { publicKey: string; revoked: boolean } | null;
}

const KEY_MEMBERS = [
  "signing_key_version",
  "public_key_b64",
  "public_key_fingerprint",
  "effective_from",
  "archived_at",
  "algorithm",
] as const;
/** Left out of what is signed when they are null. */
const NULLABLE: ReadonlySet<string> = new Set(["archived_at", "algorithm"]);

/** 32 bytes, with or without the prefix. */
export function rawKey(text: unknown): Uint8Array | null {
  if (typeof text !== "string") return null;
  const bytes = fromBase64(text.startsWith("base64:") ? text.slice("base64:".length) : text);
  return bytes?.length === 32 ? bytes : null;
}

/** `pin`: `sha256:` and the SHA-256 of the identity key's 32 bytes, lower-case hex. */
export function openManifest(value: unknown, pin: string): Manifest | ManifestFault {
  const authorities = member(value, "authorities");
  const raw = rawKey(member(value, "identity_public_key_b64"));
  if (!isMembers(value) || !isMembers(authorities) || raw === null) return "malformed";
  const spki = spkiOfRaw(raw);
  if (typeof spki === "string") return "malformed";
  const fingerprint = `sha256:${sha256Hex(raw)}`;
  if (fingerprint !== member(value, "identity_fingerprint") || fingerprint !== pin)
    return "fingerprint_mismatch";
  const signature = fromBase64(textOr(member(value, "manifest_signature")).replace(/^base64:/, ""));
  const payload = payloadOf(value, authorities);
  if (payload === null) return "malformed";
  if (signature === null || !isSoundSignature(signature)) return "signature_invalid";
  if (!signatureHolds(spki, utf8(canonical(payload)), signature)) return "signature_invalid";
  return {
    find: (authority, version) => {
      const held = member(payload.authorities, authority);
      for (const list of ["active_versions", "archived_versions"]) {
        const keys = member(held, list) as Members[] | undefined;
        const key = keys?.find((one) => one.signing_key_version === version);
        if (key !== undefined)
          return { publicKey: textOr(key.public_key_b64), revoked: member(held, "revoked") === true };
      }
      return null;
    },
  };
}

/** What the identity signed: known members only, defaults written out. Null for what has another shape. */
function payloadOf(value: Members, authorities: Members): Members | null {
  const signed: Members = {};
  for (const [name, authority] of Object.entries(authorities)) {
    const active = keysOf(member(authority, "active_versions"));
    const archived = keysOf(member(authority, "archived_versions") ?? []);
    const revoked = member(authority, "revoked") ?? false;
    if (active === null || archived === null || typeof revoked !== "boolean") return null;
    signed[name] = {
      display_name: member(authority, "display_name") ?? null,
      ...{ active_versions: active, archived_versions: archived, revoked },
    };
  }
  return {
    schema_version: member(value, "schema_version") ?? null,
    issued_at: member(value, "issued_at") ?? null,
    identity_fingerprint: member(value, "identity_fingerprint"),
    identity_public_key_b64: member(value, "identity_public_key_b64"),
    authorities: signed,
  };
}

function keysOf(list: unknown): Members[] | null {
  if (!Array.isArray(list) || !list.every(isMembers)) return null;
  return list.map((key) => {
    const kept: Members = {};
    for (const name of KEY_MEMBERS) {
      const value = member(key, name) ?? null;
      if (value !== null || !NULLABLE.has(name)) kept[name] = value;
    }
    return kept;
  });
}
