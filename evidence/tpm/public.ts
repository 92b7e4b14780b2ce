// SPDX-License-Identifier: Apache-2.0
/**
 * The public part of a key in a TPM (TPM 2.0 Library, part 2, "TPMT_PUBLIC"), and the rules that a key must keep
 * whose signature is to mean that a TPM said something. A key that signs anything would sign what only looks
 * like a quote: so only a restricted one will do, that was made in the TPM and cannot leave it.
 */
import { concatBytes } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import { ALG, P256, TpmFault, TpmReader, u16 } from "./wire.ts";

export interface TpmKey {
  /** TPMT_PUBLIC, which the name is the hash of. */
  area: Uint8Array;
  attributes: number;
  scheme: "ecdsa" | "rsassa" | "rsapss";
  /** x and y on P-256, or the modulus of a key of RSA with exponent 65537. */
  point: Uint8Array | null;
  modulus: Uint8Array | null;
}

const ATTRIBUTES = {
  fixedTpm: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;
const AREA_BYTES_MAX = 1024;

/** Takes TPMT_PUBLIC, or TPM2B_PUBLIC as tools write it to files. Throws `TpmFault`. */
export function parseSigningKey(bytes: Uint8Array): TpmKey {
  if (bytes.length < 4 || bytes.length > AREA_BYTES_MAX) throw new TpmFault("it has no size of a key");
  // A TPMT_PUBLIC begins with its kind, 1 or 0x23; no key is as short as either.
  const isSized = ((bytes[0]! << 8) | bytes[1]!) === bytes.length - 2;
  const area = isSized ? bytes.slice(2) : Uint8Array.from(bytes);
  const from = new TpmReader(area);
  const kind = from.u16();
  if (from.u16() !== ALG.sha256) throw new TpmFault("its name is not made with SHA-256");
  const attributes = from.u32();
  from.sized(64);
  if (from.u16() !== ALG.null) throw new TpmFault("it is a key that encrypts");
  if (kind === ALG.ecc) {
    requireScheme(from, [ALG.ecdsa]);
    if (from.u16() !== P256) throw new TpmFault("it is not on the curve P-256");
    if (from.u16() !== ALG.null) throw new TpmFault("it derives keys");
    const point = concatBytes(padded(from.sized(32), 32), padded(from.sized(32), 32));
    from.end();
    return { area, attributes, scheme: "ecdsa", point, modulus: null };
  }
  if (kind !== ALG.rsa) throw new TpmFault("it is neither of RSA nor of ECC");
  const scheme = requireScheme(from, [ALG.rsassa, ALG.rsapss]);
  const bits = from.u16();
  const exponent = from.u32();
  if (exponent !== 0 && exponent !== 65537) throw new TpmFault("its exponent is not 65537");
  const modulus = from.sized(512);
  from.end();
  if (bits < 2048 || modulus.length * 8 !== bits)
    throw new TpmFault("its modulus has another size, or too small a one");
  return { area, attributes, scheme: scheme === ALG.rsassa ? "rsassa" : "rsapss", point: null, modulus };
}

function requireScheme(from: TpmReader, schemes: readonly number[]): number {
  const scheme = from.u16();
  if (!schemes.includes(scheme) || from.u16() !== ALG.sha256)
    throw new TpmFault("its scheme is not one of signing with SHA-256");
  return scheme;
}

/** Why this key's signatures mean nothing; null when they do. */
export function faultOfAttributes({ attributes }: TpmKey): string | null {
  const has = (name: keyof typeof ATTRIBUTES) => (attributes & ATTRIBUTES[name]) !== 0;
  if (!has("sign") || has("decrypt")) return "it is not a key for signing alone";
  if (!has("restricted")) return "it signs whatever it is given, so also what only looks like a quote";
  if (!has("fixedTpm") || !has("fixedParent")) return "it can leave its TPM";
  return has("sensitiveDataOrigin") ? null : "it was not made in a TPM";
}

/** How a TPM calls the key: the hash's name, and the hash of the public area. */
export async function nameOf({ area }: Pick<TpmKey, "area">): Promise<Uint8Array> {
  return concatBytes(u16(ALG.sha256), await sha256(area));
}

/** Numbers may come without their leading zeros. */
export function padded(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length > length) throw new TpmFault("a number is too large");
  return concatBytes(new Uint8Array(length - bytes.length), bytes);
}
