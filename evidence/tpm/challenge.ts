// SPDX-License-Identifier: Apache-2.0
/**
 * Has a machine show that the key of its quote lives in the TPM of its endorsement certificate, by a credential that only that TPM
 * opens. Against a host that signs a quote with a key of its own: nothing in a quote tells such a key from one in a TPM.
 */
import { equalBytes, hexOf } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import { certificatesOf } from "../x509/files.ts";
import { type Credential, makeCredential } from "./credential.ts";
import { nameOf, parseSigningKey } from "./public.ts";
import type { TpmEvidence } from "./verify.ts";

const SECRET_BYTES = 32;

/**
 * The name of the quote's key, in hex, when it opened a credential; else null. What is wrong with evidence of which no credential can be
 * made is a step of its verdict.
 *
 * @param open Asks the machine for what is in the credential; null when it opens none.
 */
export async function shownKeyName(
  evidence: TpmEvidence,
  open: (credential: Credential) => Promise<Uint8Array | null>,
): Promise<string | null> {
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  const made = await credentialFor(evidence, secret);
  if (made === null) return null;
  const opened = await open(made.credential);
  // Hashes are compared, so that how long it takes says nothing of the secret.
  const same = opened !== null && equalBytes(await sha256(opened), await sha256(secret));
  return same ? hexOf(made.name) : null;
}

async function credentialFor(
  { key, endorsement }: TpmEvidence,
  secret: Uint8Array,
): Promise<{ name: Uint8Array; credential: Credential } | null> {
  try {
    // The one that the verdict's step `endorsement` is about.
    const [certificate] = certificatesOf(endorsement?.[0] ?? new Uint8Array());
    if (certificate === undefined) return null;
    const name = await nameOf(parseSigningKey(key));
    return { name, credential: await makeCredential(certificate.spki, name, secret) };
  } catch {
    return null;
  }
}
