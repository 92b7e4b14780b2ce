// SPDX-License-Identifier: Apache-2.0
/**
 * What Intel says of platforms, as files that a reader has on disk: TCB info, the quoting enclave's
 * identity, certificates, revocation lists. Each file is known by its content: an answer of Intel's
 * provisioning service as it came, one JSON document with all of them (as quote libraries keep it), or
 * DER, PEM or hex. What is none of these is not looked at; a folder may hold anything.
 *
 * Intel signs the bytes of a JSON object, so the text is cut out as it stands and never written anew.
 */
import { fromHex, utf8Of } from "../bytes.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { type Crl, parseCrl } from "../x509/crl.ts";
import { derOf, FILE_BYTES_MAX } from "../x509/files.ts";

export interface SignedText {
  text: string;
  /** r and s, 32 bytes each. */
  signature: Uint8Array;
}

export interface Collateral {
  tcbInfos: SignedText[];
  qeIdentities: SignedText[];
  certificates: Certificate[];
  /** DER beside what was read of it. */
  crls: { der: Uint8Array; crl: Crl }[];
}

const FILES_MAX = 256;
const PIECES_MAX = 64;

export function readCollateral(files: readonly Uint8Array[]): Collateral {
  const found: Collateral = { tcbInfos: [], qeIdentities: [], certificates: [], crls: [] };
  for (const file of files.slice(0, FILES_MAX)) {
    if (file.length > FILE_BYTES_MAX) continue;
    const text = utf8Of(file);
    if (text?.startsWith("{")) readJson(text, found);
    else readDerOrPem(file, text, found);
  }
  return found;
}

/** Answers as they came. The service writes no space between members; a copy with other bytes is not what was signed. */
const ANSWER = /^\{"(tcbInfo|enclaveIdentity)":(\{.*\}),"signature":"([0-9A-Fa-f]{128})"\}\s*$/s;

function readJson(text: string, found: Collateral): void {
  const answer = ANSWER.exec(text);
  if (answer !== null) {
    const [, name, body, signature] = answer;
    const list = name === "tcbInfo" ? found.tcbInfos : found.qeIdentities;
    add(list, { text: body!, signature: fromHex(signature!)! });
    return;
  }
  let whole: Record<string, unknown>;
  try {
    whole = JSON.parse(text);
  } catch {
    return;
  }
  const member = (name: string) => (Object.hasOwn(whole, name) ? whole[name] : undefined);
  for (const [name, list] of [
    ["tcb_info", found.tcbInfos],
    ["qe_identity", found.qeIdentities],
  ] as const) {
    const body = member(name);
    const signature = bytesOf(member(`${name}_signature`));
    if (typeof body === "string" && signature?.length === 64) add(list, { text: body, signature });
  }
  for (const name of ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"]) {
    const chain = member(name);
    if (typeof chain === "string") readDerOrPem(new TextEncoder().encode(chain), chain, found);
  }
  for (const name of ["root_ca_crl", "pck_crl"]) {
    const list = bytesOf(member(name));
    if (list !== null) readDerOrPem(list, null, found);
  }
}

/** Hex digits, or an array of bytes as some libraries write it. */
function bytesOf(value: unknown): Uint8Array | null {
  if (typeof value === "string") return fromHex(value);
  if (!Array.isArray(value) || value.length > FILE_BYTES_MAX) return null;
  const isByte = (one: unknown) => Number.isInteger(one) && (one as number) >= 0 && (one as number) <= 255;
  return value.every(isByte) ? Uint8Array.from(value) : null;
}

function readDerOrPem(file: Uint8Array, text: string | null, found: Collateral): void {
  // The service hands out a list for PCK certificates as hex digits when asked for PEM.
  const unhexed = text === null ? null : fromHex(text.trim());
  const bytes = unhexed !== null && unhexed.length > 0 ? unhexed : file;
  for (const [label, read] of [
    ["CERTIFICATE", (der: Uint8Array) => add(found.certificates, parseCertificate(der))],
    ["X509 CRL", (der: Uint8Array) => add(found.crls, { der, crl: parseCrl(der) })],
  ] as const)
    try {
      for (const der of derOf(bytes, label)) read(der);
    } catch {}
}

function add<T>(list: T[], one: T): void {
  if (list.length < PIECES_MAX) list.push(one);
}
