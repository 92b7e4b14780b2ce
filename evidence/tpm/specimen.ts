// SPDX-License-Identifier: Apache-2.0
/** A TPM, and firmware with a log, under keys made on the spot: for tests. It needs Node's cryptography: it makes keys and signs. */
import { constants, createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { concatBytes } from "../bytes.ts";
import { bytesOf, spkiOf } from "../x509/specimen.ts";
import { ALG, P256, sized, u16, u32 } from "./wire.ts";

const hash = (...parts: Uint8Array[]) =>
  Uint8Array.from(
    createHash("sha256")
      .update(concatBytes(...parts))
      .digest(),
  );

/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign: as tools make an attestation key. */
export const ATTRIBUTES = 0x00050072;

export type Scheme = "ecdsa" | "rsassa" | "rsapss";

export interface SpecimenTpm {
  key: Uint8Array;
  quote(change?: TpmQuoteChange): { quote: Uint8Array; signature: Uint8Array };
}

export interface TpmQuoteChange {
  magic?: number;
  type?: number;
  extraData?: Uint8Array;
  algorithm?: number;
  selection?: readonly number[];
  /** In the order of the selection. */
  values?: readonly Uint8Array[];
  after?: Uint8Array;
}

export function makeTpm(
  scheme: Scheme = "ecdsa",
  { attributes = ATTRIBUTES, nameAlg = ALG.sha256 as number, after = new Uint8Array() } = {},
): SpecimenTpm {
  const { privateKey } =
    scheme === "ecdsa"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("rsa", { modulusLength: 2048 });
  const head = (kind: number) =>
    concatBytes(u16(kind), u16(nameAlg), u32(attributes), sized(new Uint8Array()), u16(ALG.null));
  const point = spkiOf(privateKey).subarray(-64);
  const key =
    scheme === "ecdsa"
      ? concatBytes(
          head(ALG.ecc),
          ...[ALG.ecdsa, ALG.sha256, P256, ALG.null].map(u16),
          sized(point.subarray(0, 32)),
          sized(point.subarray(32)),
        )
      : concatBytes(
          head(ALG.rsa),
          ...[ALG[scheme], ALG.sha256, 2048].map(u16),
          u32(0),
          sized(Buffer.from(privateKey.export({ format: "jwk" }).n!, "base64url")),
        );
  return {
    key: concatBytes(key, after),
    quote: (change = {}) => {
      const quote = attest(change);
      return { quote, signature: signed(scheme, privateKey, quote) };
    },
  };
}

function attest(change: TpmQuoteChange): Uint8Array {
  const { magic = 0xff544347, type = 0x8018, selection = [4, 9, 11, 12] } = change;
  const values = change.values ?? selection.map(() => new Uint8Array(32));
  const mask = new Uint8Array(3);
  for (const pcr of selection) mask[pcr >> 3]! |= 1 << (pcr & 7);
  return concatBytes(
    u32(magic),
    u16(type),
    sized(concatBytes(u16(ALG.sha256), new Uint8Array(32))),
    sized(change.extraData ?? new Uint8Array()),
    new Uint8Array(8),
    u32(1),
    u32(0),
    Uint8Array.of(1),
    new Uint8Array(8),
    u32(1),
    u16(change.algorithm ?? ALG.sha256),
    Uint8Array.of(mask.length),
    mask,
    sized(hash(...values)),
    change.after ?? new Uint8Array(),
  );
}

export function signed(scheme: Scheme, key: KeyObject, message: Uint8Array): Uint8Array {
  if (scheme === "ecdsa") {
    const raw = sign("sha256", message, { key, dsaEncoding: "ieee-p1363" });
    return concatBytes(u16(ALG.ecdsa), u16(ALG.sha256), sized(raw.subarray(0, 32)), sized(raw.subarray(32)));
  }
  const padding = scheme === "rsapss" ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING;
  const raw = sign("sha256", message, { key, padding, ...(scheme === "rsapss" && { saltLength: 32 }) });
  return concatBytes(u16(ALG[scheme]), u16(ALG.sha256), sized(raw));
}

export interface SpecimenEvent {
  pcr: number;
  data: Uint8Array;
  type?: number;
  digest?: Uint8Array;
}

const IPL = 0x0d;
const NO_ACTION = 3;
const le16 = (value: number) => u16(value).reverse();
const le32 = (value: number) => u32(value).reverse();

/** As firmware writes it: with the banks of SHA-1 and SHA-256. */
export function writeEventLog(events: readonly SpecimenEvent[], locality: number | null = null): Uint8Array {
  const spec = concatBytes(
    bytesOf("Spec ID Event03\0"),
    Uint8Array.of(0, 0, 0, 0, 0, 2, 2, 2),
    le32(2),
    le16(4),
    le16(20),
    le16(ALG.sha256),
    le16(32),
    Uint8Array.of(0),
  );
  const one = ({ pcr, data, type = IPL, digest = hash(data) }: SpecimenEvent) =>
    concatBytes(
      le32(pcr),
      le32(type),
      le32(2),
      le16(4),
      new Uint8Array(20),
      le16(ALG.sha256),
      digest,
      le32(data.length),
      data,
    );
  const started =
    locality === null
      ? []
      : [
          {
            pcr: 0,
            type: NO_ACTION,
            data: concatBytes(bytesOf("StartupLocality\0"), Uint8Array.of(locality)),
          },
        ];
  return concatBytes(
    le32(0),
    le32(NO_ACTION),
    new Uint8Array(20),
    le32(spec.length),
    spec,
    ...[...started, ...events].map(one),
  );
}

/** The register that these come to, by Node's cryptography and not by that of `event-log.ts`. */
export function extendedBy(...digests: Uint8Array[]): Uint8Array {
  return digests.reduce((value, digest) => hash(value, digest), new Uint8Array(32));
}

/** A program of firmware's with these sections, as small as one can be. */
export function writePe(
  sections: Readonly<Record<string, Uint8Array>>,
  signature = new Uint8Array(),
): Uint8Array {
  const names = Object.keys(sections);
  const up = (value: number) => Math.ceil(value / 512) * 512;
  // With room for what is added to a stub.
  const headerBytes = up(0x40 + 24 + 240 + (names.length + 2) * 40);
  const head = new Uint8Array(headerBytes);
  const view = new DataView(head.buffer);
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(0x3c, 0x40, true);
  view.setUint32(0x40, 0x4550, true);
  view.setUint16(0x46, names.length, true);
  view.setUint16(0x54, 240, true);
  const optional = 0x58;
  view.setUint16(optional, 0x20b, true);
  view.setUint32(optional + 36, 512, true);
  view.setUint32(optional + 60, headerBytes, true);
  view.setUint32(optional + 108, 16, true);
  const parts: Uint8Array[] = [head];
  let at = headerBytes;
  for (const [index, name] of names.entries()) {
    const data = sections[name]!;
    const entry = optional + 240 + index * 40;
    head.set(bytesOf(name), entry);
    view.setUint32(entry + 8, data.length, true);
    view.setUint32(entry + 16, up(data.length), true);
    view.setUint32(entry + 20, at, true);
    parts.push(data, new Uint8Array(up(data.length) - data.length));
    at += up(data.length);
  }
  if (signature.length > 0) {
    view.setUint32(optional + 144, at, true);
    view.setUint32(optional + 148, signature.length, true);
  }
  return concatBytes(...parts, signature);
}
