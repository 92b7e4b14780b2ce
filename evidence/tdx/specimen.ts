// SPDX-License-Identifier: Apache-2.0
/**
 * A platform, its quotes and its collateral like Intel's, under keys made on the spot: for tests. Nothing
 * accepts them but a verifier that was given their root's key. It needs Node's cryptography: it makes keys
 * and signs.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { concatBytes, hexOf } from "../bytes.ts";
import {
  bytesOf,
  type CertificatePlan,
  type CrlPlan,
  der,
  ECDSA_SHA256,
  extension,
  integer,
  issuing,
  oid,
  sequence,
  signCertificate,
  signCrl,
  spkiOf,
  usage,
} from "../x509/specimen.ts";

/** A moment at which everything made here is valid, unless it was asked to be otherwise. */
export const SPECIMEN_MS = Date.UTC(2026, 5, 1);

const INTEL = "1.2.840.113741.1.13.1";
const NAMES = {
  root: "Intel SGX Root CA",
  issuer: "Intel SGX PCK Platform CA",
  pck: "Intel SGX PCK Certificate",
  signer: "Intel SGX TCB Signing",
} as const;
export type Place = keyof typeof NAMES;

const SERIALS: Record<Place, number> = { root: 1, issuer: 2, pck: 3, signer: 4 };
const ISSUED_BY: Record<Place, "root" | "issuer"> = {
  root: "root",
  issuer: "root",
  pck: "issuer",
  signer: "root",
};

export interface IntelChange {
  certificates?: Partial<Record<Place, Partial<CertificatePlan>>>;
  crls?: Partial<Record<"root" | "pck", Partial<CrlPlan> | null>>;
  /** Who signs a list, when it is another than its issuer. */
  crlSigner?: Place;
  tcbInfo?: Record<string, unknown>;
  qeIdentity?: Record<string, unknown>;
  /** Versions of the processor's components and of its provisioning enclave. */
  svns?: number[];
  pceSvn?: number;
  quote?: QuoteChange;
}

export interface QuoteChange {
  version?: 4 | 5;
  report?: "1.0" | "1.5";
  /** Offset in the body → bytes, written before signing. */
  body?: Record<number, readonly number[]>;
  header?: Record<number, readonly number[]>;
  /** Offset in the quoting enclave's report → bytes, written before signing. */
  enclave?: Record<number, readonly number[]>;
  authData?: Uint8Array;
  /** Certification types, outer and inner. */
  types?: [number, number];
  /** Bytes after each of the nested parts, inside out, and after the quote. */
  after?: { inner?: Uint8Array; outer?: Uint8Array; quote?: Uint8Array };
  bodyHead?: [type: number, bytes: number];
  pemTail?: string;
  signWith?: KeyObject;
}

export interface IntelSpecimen {
  rootKeys: string[];
  quote: Uint8Array;
  collateral: Uint8Array[];
  /** By what they are, so that a test can leave one out or put in another's. */
  parts: Record<"tcbInfo" | "qeIdentity" | "rootCrl" | "pckCrl" | "certificates", Uint8Array>;
}

export const FMSPC = "00a06f050000";
const PCE_ID = "0000";
const MR_SIGNER = "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5";
export const SVNS = [2, 2, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
const TDX_SVNS = [5, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const PCE_SVN = 13;
const ZERO_MODULE = {
  mrsigner: "00".repeat(48),
  attributes: "00".repeat(8),
  attributesMask: "FF".repeat(8),
};

export const level = (
  status: string,
  { sgx = SVNS, tdx = TDX_SVNS, pce = 11 }: { sgx?: number[]; tdx?: number[]; pce?: number } = {},
  advisoryIDs: string[] = [],
) => ({
  tcb: {
    sgxtcbcomponents: sgx.map((svn) => ({ svn })),
    pcesvn: pce,
    tdxtcbcomponents: tdx.map((svn) => ({ svn })),
  },
  tcbDate: "2026-01-01T00:00:00Z",
  tcbStatus: status,
  advisoryIDs,
});

export const svnLevel = (isvsvn: number, tcbStatus: string) => ({
  tcb: { isvsvn },
  tcbDate: "2026-01-01T00:00:00Z",
  tcbStatus,
});

const TCB_INFO = {
  id: "TDX",
  version: 3,
  issueDate: "2026-05-20T00:00:00Z",
  nextUpdate: "2026-06-19T00:00:00Z",
  fmspc: FMSPC.toUpperCase(),
  pceId: PCE_ID,
  tcbType: 0,
  tcbEvaluationDataNumber: 18,
  tdxModule: ZERO_MODULE,
  tdxModuleIdentities: [
    { id: "TDX_01", ...ZERO_MODULE, tcbLevels: [svnLevel(4, "UpToDate"), svnLevel(2, "OutOfDate")] },
  ],
  tcbLevels: [level("UpToDate"), level("OutOfDate", { pce: 5 }, ["INTEL-SA-00837"])],
};

const QE_IDENTITY = {
  id: "TD_QE",
  version: 2,
  issueDate: "2026-05-20T00:00:00Z",
  nextUpdate: "2026-06-19T00:00:00Z",
  tcbEvaluationDataNumber: 18,
  miscselect: "00000000",
  miscselectMask: "FFFFFFFF",
  attributes: "11000000000000000000000000000000",
  attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
  mrsigner: MR_SIGNER.toUpperCase(),
  isvprodid: 2,
  tcbLevels: [svnLevel(4, "UpToDate"), svnLevel(2, "OutOfDate")],
};

const p256 = () => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const ieee = (key: KeyObject, bytes: Uint8Array) => sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
const pemOf = (one: Uint8Array) =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(one)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n")}\n-----END CERTIFICATE-----\n`;

/** Makes keys once; each quote and its collateral is made for the change that is asked. */
export function makeIntel(): (change?: IntelChange) => IntelSpecimen {
  const keys: Record<Place, KeyObject> = { root: p256(), issuer: p256(), pck: p256(), signer: p256() };
  return (change = {}) => {
    const certificate = (place: Place) => {
      const ca = place === "root" || place === "issuer";
      const plan: CertificatePlan = {
        serial: SERIALS[place],
        issuer: NAMES[ISSUED_BY[place]],
        subject: NAMES[place],
        notBefore: "20250101000000Z",
        notAfter: "20320101000000Z",
        spki: spkiOf(keys[place]),
        algorithm: ECDSA_SHA256,
        outerAlgorithm: ECDSA_SHA256,
        extensions: [
          issuing(ca),
          usage(ca ? 0x06 : 0xc0),
          ...(place === "pck" ? [extension(INTEL, platformOf(change))] : []),
        ],
        ...change.certificates?.[place],
      };
      return signCertificate(plan, keys[ISSUED_BY[place]]);
    };
    const crl = (name: "root" | "pck") => {
      const issuer = name === "root" ? "root" : "issuer";
      const plan: CrlPlan = {
        issuer: NAMES[issuer],
        serials: [99],
        thisUpdate: "20260520000000Z",
        nextUpdate: "20260619000000Z",
        extensions: [],
        algorithm: ECDSA_SHA256,
        ...change.crls?.[name],
      };
      return signCrl(plan, keys[change.crlSigner ?? issuer]);
    };
    const answer = (name: string, body: unknown) => {
      const text = JSON.stringify(body);
      return bytesOf(`{"${name}":${text},"signature":"${hexOf(ieee(keys.signer, bytesOf(text)))}"}`);
    };
    const [root, issuer, pck, signer] = (["root", "issuer", "pck", "signer"] as const).map(certificate);
    const chain = [pck!, issuer!, root!].map(pemOf).join("") + (change.quote?.pemTail ?? "");
    const parts = {
      tcbInfo: answer("tcbInfo", { ...TCB_INFO, ...change.tcbInfo }),
      qeIdentity: answer("enclaveIdentity", { ...QE_IDENTITY, ...change.qeIdentity }),
      rootCrl: crl("root"),
      pckCrl: crl("pck"),
      certificates: bytesOf(pemOf(signer!) + pemOf(root!)),
    };
    return {
      rootKeys: [createHash("sha256").update(spkiOf(keys.root)).digest("hex")],
      quote: makeQuote(keys.pck, bytesOf(chain), change.quote ?? {}),
      collateral: Object.values(parts),
      parts,
    };
  };
}

/** What a PCK certificate says of its processor. */
export function platformOf({ svns = SVNS, pceSvn = PCE_SVN }: IntelChange): Uint8Array {
  const member = (name: string, value: Uint8Array) => sequence(oid(`${INTEL}.${name}`), value);
  const octets = (hex: string) => der(0x04, Buffer.from(hex, "hex"));
  return sequence(
    member("1", octets("5a".repeat(16))),
    member(
      "2",
      sequence(
        ...svns.map((svn, index) => member(`2.${index + 1}`, integer(svn))),
        member("2.17", integer(pceSvn)),
        member("2.18", octets(hexOf(Uint8Array.from(svns)))),
      ),
    ),
    member("3", octets(PCE_ID)),
    member("4", octets(FMSPC)),
    member("5", der(0x0a, Uint8Array.of(1))),
  );
}

const u16 = (value: number) => Uint8Array.of(value & 0xff, value >> 8);
const u32 = (value: number) => concatBytes(u16(value & 0xffff), u16(value >>> 16));
const write = (bytes: Uint8Array, set: Record<number, readonly number[]> = {}) => {
  for (const [at, values] of Object.entries(set)) bytes.set(values, Number(at));
  return bytes;
};

function makeQuote(pckKey: KeyObject, chain: Uint8Array, change: QuoteChange): Uint8Array {
  const { version = 4, report = "1.0", authData = randomBytes(32), types = [6, 5], after = {} } = change;
  const attestation = p256();
  const point = spkiOf(attestation).subarray(-64);
  const header = new Uint8Array(48);
  header.set([version, 0, 2, 0, 0x81]);
  header.set(Buffer.from("939a7233f79c4ca9940a0db3957f0607", "hex"), 12);
  header.set(randomBytes(16), 28);
  const body = new Uint8Array(report === "1.0" ? 584 : 648);
  body.set([6, 1, 3]);
  body.set(randomBytes(48), 16);
  body[123] = 0x10;
  body.set([0xe7, 0x02, 0x06], 128);
  body.set(randomBytes(48), 136);
  body.set(randomBytes(4 * 48 + 64), 328);
  const [type, size] = change.bodyHead ?? [report === "1.0" ? 2 : 3, body.length];
  const head = version === 5 ? concatBytes(u16(type), u32(size)) : new Uint8Array();
  const signed = concatBytes(write(header, change.header), head, write(body, change.body));
  const enclave = new Uint8Array(384);
  enclave.set(randomBytes(16));
  enclave[48] = 0x11;
  enclave.set(Buffer.from(MR_SIGNER, "hex"), 128);
  enclave.set([2, 0, 4, 0], 256);
  enclave.set(createHash("sha256").update(concatBytes(point, authData)).digest(), 320);
  write(enclave, change.enclave);
  const certification = concatBytes(
    enclave,
    ieee(pckKey, enclave),
    u16(authData.length),
    authData,
    u16(types[1]),
    u32(chain.length),
    chain,
    after.inner ?? new Uint8Array(),
  );
  const auth = concatBytes(
    ieee(change.signWith ?? attestation, signed),
    point,
    u16(types[0]),
    u32(certification.length),
    certification,
    after.outer ?? new Uint8Array(),
  );
  return concatBytes(signed, u32(auth.length), auth, after.quote ?? new Uint8Array());
}
