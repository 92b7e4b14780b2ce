// SPDX-License-Identifier: Apache-2.0
/**
 * The same evidence, judged once more by a library that others wrote and use. It knows less than
 * `verify.ts` (no signature of a revocation list, no names in a chain, no identity of a TDX module, and
 * bytes that it passes over), but it shares none of our mistakes: what it refuses is refused.
 */
import { type Collateral as LibraryCollateral, QuoteVerifier, utils } from "@phala/dcap-qvl";
import { hexOf } from "../bytes.ts";
import { StepFault } from "../steps.ts";
import type { Certificate } from "../x509/certificate.ts";
import type { SignedText } from "./collateral.ts";
import { isTcbStatus, type TcbStatus } from "./tcb-status.ts";

export interface CrossCheck {
  bytes: Uint8Array;
  root: Certificate;
  /** Who signed TCB info and identity. */
  signer: Certificate;
  tcbInfo: SignedText;
  qeIdentity: SignedText;
  rootCrl: Uint8Array;
  pckCrl: Uint8Array;
  atMs: number;
}

/** The status that the library comes to; throws `StepFault` with its own words when it refuses. */
export function judgeByLibrary(one: CrossCheck): TcbStatus {
  const chain = pemOf(one.signer.der) + pemOf(one.root.der);
  const collateral: LibraryCollateral = {
    pck_crl_issuer_chain: chain,
    root_ca_crl: hexOf(one.rootCrl),
    pck_crl: hexOf(one.pckCrl),
    tcb_info_issuer_chain: chain,
    tcb_info: one.tcbInfo.text,
    tcb_info_signature: hexOf(one.tcbInfo.signature),
    qe_identity_issuer_chain: chain,
    qe_identity: one.qeIdentity.text,
    qe_identity_signature: hexOf(one.qeIdentity.signature),
  };
  let status: unknown;
  try {
    // Its own reader of PEM makes the kind of buffer that it expects, in a browser too.
    const [root] = utils.extractCerts(pemOf(one.root.der) as unknown as Buffer);
    const verifier = QuoteVerifier.newWithRootCa(root!);
    status = verifier.verify(one.bytes, collateral, one.atMs / 1000).status;
  } catch (fault) {
    const words = fault instanceof Error ? fault.message : "";
    const told = /^[\x20-\x7e]{1,200}$/.test(words) ? words : "it cannot read it";
    throw new StepFault(`The library refuses the evidence: ${told}.`);
  }
  if (!isTcbStatus(status)) throw new StepFault("The library comes to no status that is known here.");
  return status;
}

function pemOf(der: Uint8Array): string {
  const lines = btoa(String.fromCharCode(...der)).match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
