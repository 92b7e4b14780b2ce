// SPDX-License-Identifier: Apache-2.0
/**
 * A quote of TDX, version 4 or 5 (Intel, "TDX DCAP Quoting Library API", appendix A.3 and A.4). The library
 * reads the fields; here every byte is accounted for, since the library passes over what it does not
 * need: outer lengths, the size of a body, kinds it never looks at, and all that follows. What is not
 * signed must have one form only, or two readers would see two quotes in the same bytes.
 */
import { Quote } from "@phala/dcap-qvl";
import { allZero, equalBytes } from "../bytes.ts";

export const QUOTE_BYTES_MAX = 64 * 1024;

export interface TdxQuote {
  version: number;
  /** Of TDX 1.0 or 1.5. */
  report: "1.0" | "1.5";
  teeTcbSvn: Uint8Array;
  mrSeam: Uint8Array;
  mrSignerSeam: Uint8Array;
  seamAttributes: Uint8Array;
  tdAttributes: Uint8Array;
  xfam: Uint8Array;
  mrTd: Uint8Array;
  mrConfigId: Uint8Array;
  mrOwner: Uint8Array;
  mrOwnerConfig: Uint8Array;
  rtmrs: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  reportData: Uint8Array;
  /** TDX 1.5 alone: of a service TD, such as one that migrates. */
  mrServiceTd: Uint8Array | null;
  /** Header and body: what the attestation key signed. */
  signed: Uint8Array;
  signature: Uint8Array;
  /** x and y. */
  attestationKey: Uint8Array;
  qe: QuotingEnclave;
  /** The PEM text of the PCK certificate and those above it. */
  certificates: Uint8Array;
}

export interface QuotingEnclave {
  /** The enclave's report, which the PCK key signed. */
  report: Uint8Array;
  signature: Uint8Array;
  authData: Uint8Array;
  miscSelect: number;
  attributes: Uint8Array;
  mrSigner: Uint8Array;
  isvProdId: number;
  isvSvn: number;
  reportData: Uint8Array;
}

export interface QuoteReading {
  quote: TdxQuote | null;
  /** What is wrong with its form, in words. Empty for a well-formed one. */
  faults: string[];
}

const TEE_TDX = 0x81;
const ECDSA_P256 = 2;
const QE_REPORT_CERTIFICATION = 6;
const PCK_CHAIN = 5;
const HEADER_BYTES = 48;
const BODY_HEAD_BYTES = 6;
const BODIES = { "1.0": { type: 2, bytes: 584 }, "1.5": { type: 3, bytes: 648 } } as const;
const CERTIFICATION_HEAD_BYTES = 6;
const SIGNATURE_AND_KEY_BYTES = 128;
const QE_REPORT_AND_SIGNATURE_BYTES = 384 + 64;
/** Intel's quoting enclave, by the UUID in the header. */
const INTEL_QE = [
  0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

export function parseTdxQuote(bytes: Uint8Array): QuoteReading {
  if (bytes.length > QUOTE_BYTES_MAX) return { quote: null, faults: ["it is larger than 64 KiB"] };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES) return { quote: null, faults: ["it is cut off"] };
  const [version, keyType, tee] = [view.getUint16(0, true), view.getUint16(2, true), view.getUint32(4, true)];
  const none = (fault: string) => ({ quote: null, faults: [fault] });
  if (version !== 4 && version !== 5) return none(`version ${version} is not known here`);
  if (tee !== TEE_TDX) return none(`it is not of TDX (TEE type 0x${tee.toString(16)})`);
  if (keyType !== ECDSA_P256) return none(`attestation key type ${keyType} is not ECDSA on P-256`);
  let read: Quote;
  try {
    read = Quote.parse(bytes);
  } catch {
    return none("it is cut off, or its body is none of TDX");
  }
  const td = "asTd10" in read.report ? read.report.asTd10() : null;
  // The union of the library's types has auth data of version 3 too, which is SGX's.
  const { data } = read.authData;
  if (td === null || !("qeReportData" in data)) return none("its body is none of TDX");
  const service = read.report.asTd15();
  const report = service === null ? "1.0" : "1.5";
  const headBytes = version === 5 ? HEADER_BYTES + BODY_HEAD_BYTES : HEADER_BYTES;
  const signedBytes = headBytes + BODIES[report].bytes;
  const { qeReportData: qe, certificationData: outer } = data;
  const qeView = new DataView(qe.qeReport.buffer, qe.qeReport.byteOffset, qe.qeReport.byteLength);
  const part = (from: number, length: number) => own(qe.qeReport.subarray(from, from + length));
  const quote: TdxQuote = {
    version,
    report,
    teeTcbSvn: own(td.teeTcbSvn),
    mrSeam: own(td.mrSeam),
    mrSignerSeam: own(td.mrSignerSeam),
    seamAttributes: own(td.seamAttributes),
    tdAttributes: own(td.tdAttributes),
    xfam: own(td.xfam),
    mrTd: own(td.mrTd),
    mrConfigId: own(td.mrConfigId),
    mrOwner: own(td.mrOwner),
    mrOwnerConfig: own(td.mrOwnerConfig),
    rtmrs: [own(td.rtMr0), own(td.rtMr1), own(td.rtMr2), own(td.rtMr3)],
    reportData: own(td.reportData),
    mrServiceTd: service === null ? null : own(service.mrServiceTd),
    signed: bytes.slice(0, signedBytes),
    signature: own(data.ecdsaSignature),
    attestationKey: own(data.ecdsaAttestationKey),
    // Offsets of an enclave's report: Intel SDM, volume 3D, "REPORT".
    qe: {
      report: own(qe.qeReport),
      signature: own(qe.qeReportSignature),
      authData: own(qe.qeAuthData),
      miscSelect: qeView.getUint32(16, true),
      attributes: part(48, 16),
      mrSigner: part(128, 32),
      isvProdId: qeView.getUint16(256, true),
      isvSvn: qeView.getUint16(258, true),
      reportData: part(320, 64),
    },
    certificates: own(qe.certificationData.body),
  };
  const faults: string[] = [];
  if (!equalBytes(bytes.subarray(12, 28), Uint8Array.from(INTEL_QE)))
    faults.push("its quoting enclave is not Intel's");
  if (version === 5) {
    const { type, bytes: size } = BODIES[report];
    if (view.getUint16(HEADER_BYTES, true) !== type || view.getUint32(HEADER_BYTES + 2, true) !== size)
      faults.push("its body has not the size that it says");
  }
  if (outer.certType !== QE_REPORT_CERTIFICATION)
    faults.push(`certification data of type ${outer.certType} is not the quoting enclave's`);
  if (qe.certificationData.certType !== PCK_CHAIN)
    faults.push(`certification data of type ${qe.certificationData.certType} carries no PCK certificates`);
  const inner =
    QE_REPORT_AND_SIGNATURE_BYTES +
    2 +
    qe.qeAuthData.length +
    CERTIFICATION_HEAD_BYTES +
    qe.certificationData.body.length;
  if (outer.body.length !== inner) faults.push("bytes follow the PCK certificates");
  const authBytes = SIGNATURE_AND_KEY_BYTES + CERTIFICATION_HEAD_BYTES + outer.body.length;
  if (view.getUint32(signedBytes, true) !== authBytes) faults.push("bytes follow the certification data");
  // Guests hand out a buffer of a fixed size; what it has beyond the quote is zero.
  if (!allZero(bytes.subarray(signedBytes + 4 + view.getUint32(signedBytes, true))))
    faults.push("bytes that are not zero follow the quote");
  if (!PEM_ALONE.test(latin(quote.certificates)))
    faults.push("the PCK certificates are not PEM and nothing else");
  return { quote, faults };
}

/** Lines and blocks; the quoting library ends the text with a zero or without. */
const PEM_ALONE =
  /^(?:-----BEGIN CERTIFICATE-----\r?\n(?:[A-Za-z0-9+/=]{1,76}\r?\n){1,256}-----END CERTIFICATE-----(?:\r?\n)?){1,8}(?:\r?\n)?\0?$/;

function latin(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

/** The library hands out views of a buffer of Node's, where it runs in Node. */
const own = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);
