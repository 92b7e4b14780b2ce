// SPDX-License-Identifier: Apache-2.0
/**
 * Writes DER, certificates and revocation lists under keys made on the spot: for tests and the benchmark. The
 * one file of this folder that needs Node's cryptography: it signs.
 */
import { constants, createPublicKey, type KeyObject, sign } from "node:crypto";
import { concatBytes } from "../bytes.ts";

export const bytesOf = (text: string) => new TextEncoder().encode(text);

export function der(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const body = concatBytes(...parts);
  const { length } = body;
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concatBytes(Uint8Array.from([tag, ...head]), body);
}

export const sequence = (...parts: Uint8Array[]) => der(0x30, ...parts);

export function integer(value: number): Uint8Array {
  const bytes = [value & 0xff];
  for (let rest = value >> 8; rest > 0; rest >>= 8) bytes.unshift(rest & 0xff);
  return der(0x02, Uint8Array.from(bytes[0]! >= 0x80 ? [0, ...bytes] : bytes));
}

export function oid(dotted: string): Uint8Array {
  const [first, second, ...rest] = dotted.split(".").map(Number) as [number, number, ...number[]];
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return der(0x06, Uint8Array.from(bytes));
}

export function time(text: string): Uint8Array {
  return der(0x18, bytesOf(text));
}

export function nameOf(commonName: string): Uint8Array {
  return sequence(der(0x31, sequence(oid("2.5.4.3"), der(0x0c, bytesOf(commonName)))));
}

export function extension(name: string, value: Uint8Array, critical = false): Uint8Array {
  return sequence(oid(name), ...(critical ? [der(0x01, Uint8Array.from([0xff]))] : []), der(0x04, value));
}

export interface CertificatePlan {
  serial: number;
  issuer: string;
  subject: string;
  notBefore: string;
  notAfter: string;
  spki: Uint8Array;
  extensions: Uint8Array[];
  algorithm: Uint8Array;
  outerAlgorithm: Uint8Array;
}

export function signCertificate(plan: CertificatePlan, key: KeyObject): Uint8Array {
  const signed = sequence(
    der(0xa0, integer(2)),
    integer(plan.serial),
    plan.algorithm,
    nameOf(plan.issuer),
    sequence(time(plan.notBefore), time(plan.notAfter)),
    nameOf(plan.subject),
    plan.spki,
    der(0xa3, sequence(...plan.extensions)),
  );
  return signedBy(signed, plan.outerAlgorithm, key);
}

/** As AMD does with a key of RSA, as Intel with one of P-256. */
export function signedBy(signed: Uint8Array, algorithm: Uint8Array, key: KeyObject): Uint8Array {
  const pssPadding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 };
  const signature =
    key.asymmetricKeyType === "rsa"
      ? sign("sha384", signed, { key, ...pssPadding })
      : sign("sha256", signed, key);
  return sequence(signed, algorithm, der(0x03, Uint8Array.of(0), signature));
}

export const spkiOf = (key: KeyObject): Uint8Array =>
  createPublicKey(key).export({ format: "der", type: "spki" });

export const issuing = (ca: boolean) =>
  extension("2.5.29.19", sequence(...(ca ? [der(0x01, Uint8Array.of(0xff))] : [])), true);
/** keyCertSign is 0x04, cRLSign 0x02. */
export const usage = (bits: number) => extension("2.5.29.15", der(0x03, Uint8Array.of(1, bits)), true);

/** RSASSA-PSS with the given digest for hash and mask; AMD's says SHA-384 and 48. */
export function pss(digest = "2.16.840.1.101.3.4.2.2", salt = 48): Uint8Array {
  const hash = sequence(oid(digest), der(0x05));
  return sequence(
    oid("1.2.840.113549.1.1.10"),
    sequence(
      der(0xa0, hash),
      der(0xa1, sequence(oid("1.2.840.113549.1.1.8"), hash)),
      der(0xa2, integer(salt)),
      der(0xa3, integer(1)),
    ),
  );
}

/** ECDSA with SHA-256, as Intel's say it. */
export const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));

export interface CrlPlan {
  issuer: string;
  serials: number[];
  thisUpdate: string;
  nextUpdate: string;
  extensions: Uint8Array[];
  algorithm: Uint8Array;
}

export function signCrl(plan: CrlPlan, key: KeyObject): Uint8Array {
  const entries = plan.serials.map((serial) => sequence(integer(serial), time(plan.thisUpdate)));
  const signed = sequence(
    integer(1),
    plan.algorithm,
    nameOf(plan.issuer),
    time(plan.thisUpdate),
    time(plan.nextUpdate),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    ...(plan.extensions.length === 0 ? [] : [der(0xa0, sequence(...plan.extensions))]),
  );
  return signedBy(signed, plan.algorithm, key);
}
