// SPDX-License-Identifier: Apache-2.0
/**
 * Boxes that only one guest opens: HPKE (RFC 9180), mode base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; the
 * encapsulated key (32 bytes), then the ciphertext. `info` names what the box is and the launch it is for, so a box of one kind or
 * for another launch is refused and not misread.
 *
 * Who seals has verified evidence in which exactly this key is bound (evidence/launch/report-data.ts); a key that only came
 * along beside the evidence may be the host's.
 */
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from "hpke";

/** `secrets`: all that a guest is given (`GuestSecrets`). `env`: a map of variables that their owner sealed. */
export type BoxKind = "secrets" | "env";

export const SEALING_KEY_BYTES = 32;

/**
 * @param launchSha256 Of the launch manifest, 32 bytes.
 * @throws RangeError When the key is none.
 */
export async function sealBox(
  kind: BoxKind,
  { sealingKey, launchSha256 }: { sealingKey: Uint8Array; launchSha256: Uint8Array },
  plaintext: Uint8Array,
): Promise<Uint8Array> {
  if (sealingKey.length !== SEALING_KEY_BYTES) throw new RangeError("a sealing key has 32 bytes");
  const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
  const key = await suite.DeserializePublicKey(sealingKey);
  const { encapsulatedSecret, ciphertext } = await suite.Seal(key, plaintext, {
    info: boxInfo(kind, launchSha256),
  });
  const box = new Uint8Array(encapsulatedSecret.length + ciphertext.length);
  box.set(encapsulatedSecret);
  box.set(ciphertext, encapsulatedSecret.length);
  return box;
}

/** `casemate <kind> v1`, a line feed, the launch's 32 bytes. */
export function boxInfo(kind: BoxKind, launchSha256: Uint8Array): Uint8Array {
  if (launchSha256.length !== 32) throw new RangeError("a launch hash has 32 bytes");
  const words = new TextEncoder().encode(`casemate ${kind} v1\n`);
  const info = new Uint8Array(words.length + 32);
  info.set(words);
  info.set(launchSha256, words.length);
  return info;
}
