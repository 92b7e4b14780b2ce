// SPDX-License-Identifier: Apache-2.0
/**
 * A stored proof in the formats of others. One key signs them all, named after itself: verifiers of those
 * formats find it in the document, and whose it is in the trust chain.
 */
import { issueAuditProof } from "#evidence/auditproof/issue.ts";
import { signTrustChain, type TrustChain } from "#evidence/auditproof/trust-chain.ts";
import type { Cdp } from "#evidence/proofs/document.ts";
import type { Envelope } from "#evidence/proofs/dsse.ts";
import { inTotoEnvelope } from "#evidence/proofs/in-toto.ts";
import { sha256Hex } from "#evidence/proofs/primitives.ts";
import { wireTime } from "#evidence/proofs/time.ts";
import type { Database } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";
import { type OnlyKey, openOnlyKey } from "./only-key.ts";

const VERSION = "1";
const nameOf = ({ raw }: OnlyKey) => `casemate-export-${sha256Hex(raw).slice(0, 16)}`;

/** `stored` is a proof that control took in, so it was parsed and verified before. */
export async function auditProofOf(db: Database, vault: Vault, stored: Buffer): Promise<string> {
  const key = await openOnlyKey(db, vault, "proof_export_key");
  const named = { authorityId: nameOf(key), version: VERSION, raw: key.raw, sign: key.sign };
  return issueAuditProof(stored, JSON.parse(stored.toString()) as Cdp, named);
}

export async function inTotoOf(db: Database, vault: Vault, stored: Buffer): Promise<Envelope> {
  const key = await openOnlyKey(db, vault, "proof_export_key");
  return inTotoEnvelope(stored, JSON.parse(stored.toString()) as Cdp, nameOf(key), key.sign);
}

/** Which key speaks for exports, signed by the installation's identity: what makes one reach that format's last stage. */
export async function trustChain(db: Database, vault: Vault, now: Date): Promise<TrustChain> {
  const identity = await openOnlyKey(db, vault, "issuer_identity");
  const key = await openOnlyKey(db, vault, "proof_export_key");
  return signTrustChain(
    {
      issuedAt: wireTime(now),
      authorityId: nameOf(key),
      key: { version: VERSION, raw: key.raw, from: wireTime(key.madeAt) },
    },
    identity.raw,
    identity.sign,
  );
}
