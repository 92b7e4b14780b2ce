// SPDX-License-Identifier: Apache-2.0
/**
 * Judges a document of the AuditProof format (CDP 1.0, 2.0, 2.1 and 2.2), rung by rung; the first that
 * does not hold decides. Total: every input gets a verdict.
 *
 * Stricter than the format's other verifiers in one thing: a text with a duplicate key, half of a
 * surrogate pair or 256 KiB and more is read by parsers in more than one way, and is no document here.
 */
import { fromBase64, utf8 } from "../proofs/encoding.ts";
import { isSoundSignature, signatureHolds, spkiOfRaw } from "../proofs/keys.ts";
import { isMembers, type Members, member } from "../proofs/reading.ts";
import { parseStrictJson } from "../proofs/strict-json.ts";
import { checkChain } from "./chain.ts";
import { bare, textOr } from "./hash.ts";
import { type Manifest, rawKey } from "./manifest.ts";
import { isPoint } from "./point.ts";
import {
  checkActivityFile,
  checkActivityRootForm,
  checkParents,
  checkReceipts,
  checkStreams,
  regionOf,
} from "./structures.ts";
import { type AuditVerdict, Fallen } from "./verdict.ts";
import { signedText } from "./view.ts";

export interface AuditPolicy {
  required_region?: string;
  /** Compared with an unsigned member, as the format has it: only a manifest says who signed. */
  required_authority_id?: string;
}

export interface AuditOptions {
  policy?: AuditPolicy;
  /** The customer's own file, of which the document declares the root. */
  activityFile?: Uint8Array;
  /** Opened, so already checked itself. */
  manifest?: Manifest;
}

const VERSIONS: ReadonlySet<unknown> = new Set(["1.0", "2.0", "2.1", "2.2"]);
/** Nothing signs them, so nothing may stand there. */
export const RESERVED = [
  "customer_attestation",
  "policy_attestation",
  "third_party_attestation",
  "retention_policy_attestation",
  "witness_signatures",
  "pqc_attestation",
  "customer_pqc_attestation",
];

/** @example judgeAuditProof(await readFile("proof.json"), { policy: { required_region: "eu-west1" } }) */
export function judgeAuditProof(input: Uint8Array | string, options: AuditOptions = {}): AuditVerdict {
  const parsed = parseStrictJson(input);
  return judgeParsed(parsed.ok ? parsed.value : undefined, options);
}

/** The same of a value that was parsed strictly. */
export function judgeParsed(value: unknown, options: AuditOptions = {}): AuditVerdict {
  try {
    return { valid: true, stage_reached: climb(value, options), failure_reason: null };
  } catch (fallen) {
    if (!(fallen instanceof Fallen)) throw fallen;
    return { valid: false, stage_reached: fallen.stage, failure_reason: fallen.reason };
  }
}

function climb(value: unknown, { policy = {}, activityFile, manifest }: AuditOptions): number {
  if (value === undefined) throw new Fallen(1, { type: "required_field_missing", field: "json_root" });
  const version = member(value, "cdp_version");
  if (!isMembers(value) || typeof version !== "string")
    throw new Fallen(1, { type: "required_field_missing", field: "cdp_version" });
  if (!VERSIONS.has(version)) throw new Fallen(2, { type: "cdp_version_unsupported", found: version });
  for (const field of RESERVED)
    if ((member(value, field) ?? null) !== null)
      throw new Fallen(2, { type: "unsigned_field_populated", field });
  checkActivityRootForm(value);
  checkPolicy(value, policy);
  const chain = checkChain(value);
  checkReceipts(value);
  checkParents(value);
  checkStreams(value);
  checkActivityFile(value, activityFile);
  const [claimed, computed] = [member(value, "final_hash"), member(chain[7], "chain_hash")];
  if (bare(claimed) !== bare(computed))
    throw new Fallen(4, {
      type: "final_hash_mismatch",
      claimed: textOr(claimed),
      computed: textOr(computed),
    });
  return signature(value, manifest);
}

function checkPolicy(document: Members, { required_authority_id, required_region }: AuditPolicy): void {
  if (required_authority_id !== undefined) {
    const claimed = member(member(document, "signing_authority"), "authority_id");
    if (claimed !== required_authority_id)
      throw new Fallen(2, {
        type: "authority_id_mismatch",
        claimed_authority_id: typeof claimed === "string" ? claimed : null,
        expected_authority_id: required_authority_id,
        reason:
          typeof claimed === "string"
            ? "verifier_policy_authority_id_mismatch"
            : "verifier_policy_demands_customer_hsm_audit_proof_has_none",
      });
  }
  const actual = regionOf(document);
  if (required_region !== undefined && actual !== required_region)
    throw new Fallen(2, { type: "region_mismatch", required: required_region, actual });
}

/** From stage 4 up: 4 when nothing is signed, 7 when the document's own key signed, 8 when the manifest's did. */
function signature(document: Members, manifest: Manifest | undefined): number {
  const attestation = member(document, "attestation");
  for (const found of [member(attestation, "algorithm"), member(document, "signature_algorithm")])
    if (typeof found === "string" && found !== "Ed25519")
      throw new Fallen(4, { type: "algorithm_unsupported", found });
  const signatureText = textOr(member(attestation, "signature"));
  // The older name counts only where the newer is not there at all.
  const keyText = textOr(member(attestation, "public_key") ?? member(attestation, "verification_key"));
  if (signatureText === "" || keyText === "") return 4;
  const message = signedText(document);
  if (message === null)
    throw new Fallen(4, {
      type: "algorithm_unsupported",
      found: `signing_mode=${textOr(member(document, "signing_mode"))}`,
    });
  const bytes = fromBase64(signatureText.replace(/^base64:/, ""));
  if (bytes?.length !== 64) throw mismatch("malformed");
  requireSigned(rawKey(keyText), message, bytes);
  return manifest === undefined ? 7 : authority(document, manifest, message, bytes);
}

function authority(document: Members, manifest: Manifest, message: string, bytes: Uint8Array): number {
  const named = member(document, "authority_id");
  const attestation = member(document, "attestation");
  const version = textOr(
    isMembers(attestation) && Object.hasOwn(attestation, "signing_key_version")
      ? attestation.signing_key_version
      : member(document, "signing_key_version"),
  );
  const key = manifest.find(typeof named === "string" ? named : "us-kms-nanorix-v1", version);
  if (key === null) throw new Fallen(6, { type: "signing_key_version_unknown", version });
  requireSigned(rawKey(key.publicKey), message, bytes);
  if (key.revoked) throw new Fallen(8, { type: "authority_revoked" });
  return 8;
}

/** A key or signature that would hold for more than one message is sound to nobody: it does not verify. */
function requireSigned(raw: Uint8Array | null, message: string, bytes: Uint8Array): void {
  if (raw === null) throw mismatch("public_key_malformed");
  const spki = spkiOfRaw(raw);
  if (typeof spki !== "string" && isSoundSignature(bytes) && signatureHolds(spki, utf8(message), bytes))
    return;
  throw mismatch(isPoint(raw) ? "does_not_verify" : "public_key_malformed");
}

const mismatch = (reason: "malformed" | "public_key_malformed" | "does_not_verify") =>
  new Fallen(7, { type: "signature_mismatch", reason });
