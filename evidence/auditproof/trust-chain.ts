// SPDX-License-Identifier: Apache-2.0
/** A trust chain manifest of the AuditProof format, written in its full form, so that its signed text is plain JCS. */
import { toBase64Text, utf8 } from "../proofs/encoding.ts";
import { sha256Hex } from "../proofs/primitives.ts";
import { canonical } from "./hash.ts";

export interface TrustChain {
  schema_version: "1";
  issued_at: string;
  /** `sha256:` and SHA-256 of the identity key's 32 bytes, hex: what a reader pins. */
  identity_fingerprint: string;
  identity_public_key_b64: string;
  authorities: Record<string, object>;
  manifest_signature: string;
}

const bare = (bytes: Uint8Array) => toBase64Text(bytes).slice("base64:".length);

/** One authority with one key. `sign` holds the identity's private key. */
export function signTrustChain(
  facts: { issuedAt: string; authorityId: string; key: { version: string; raw: Uint8Array; from: string } },
  identity: Uint8Array,
  sign: (message: Uint8Array) => Uint8Array,
): TrustChain {
  const { issuedAt, authorityId, key } = facts;
  const body = {
    ...{ schema_version: "1" as const, issued_at: issuedAt },
    identity_fingerprint: `sha256:${sha256Hex(identity)}`,
    identity_public_key_b64: bare(identity),
    authorities: {
      [authorityId]: {
        display_name: "Casemate exports",
        active_versions: [
          {
            ...{ signing_key_version: key.version, public_key_b64: bare(key.raw) },
            public_key_fingerprint: `sha256:${sha256Hex(key.raw)}`,
            ...{ effective_from: key.from, algorithm: "Ed25519" },
          },
        ],
        ...{ archived_versions: [], revoked: false },
      },
    },
  };
  return { ...body, manifest_signature: toBase64Text(sign(utf8(canonical(body)))) };
}
