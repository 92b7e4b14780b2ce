// SPDX-License-Identifier: Apache-2.0
/**
 * Intel's root for SGX and TDX is known by its key: Intel has issued its certificate anew with the same
 * key, and any of them that the key signed is as good. Nothing that a certificate says of itself counts.
 */
import { hexOf } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import type { Certificate } from "../x509/certificate.ts";
import { faultOfIssue } from "../x509/path.ts";

/** SHA-256 of the key's SubjectPublicKeyInfo, of "Intel SGX Root CA" as Intel's provisioning service hands it out. */
export const INTEL_ROOT_KEYS: readonly string[] = [
  "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e",
];

export async function isRoot(certificate: Certificate, rootKeys: readonly string[]): Promise<boolean> {
  if (!rootKeys.includes(hexOf(await sha256(certificate.spki)))) return false;
  return (await faultOfIssue(certificate, certificate, "ecdsa-p256-sha256")) === null;
}
