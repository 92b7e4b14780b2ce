// SPDX-License-Identifier: Apache-2.0
/**
 * A PCK certificate: the key that a processor signs its quoting enclave with, and what Intel says of that
 * processor below 1.2.840.113741.1.13.1 ("Intel SGX PCK Certificate and CRL Profile Specification", 1.3).
 */
import { type Certificate, unknownCritical } from "../x509/certificate.ts";
import { requireCurve } from "../x509/curve.ts";
import {
  childrenOf,
  type Der,
  DerFault,
  oidOf,
  readDer,
  requireTag,
  smallInteger,
  TAG,
} from "../x509/der.ts";

const INTEL = "1.2.840.113741.1.13.1";

export interface Pck {
  fmspc: Uint8Array;
  pceId: Uint8Array;
  /** Of the processor's 16 components, and of the provisioning enclave. */
  svns: readonly number[];
  pceSvn: number;
}

/** Throws `DerFault` when the certificate is no PCK certificate. */
export function readPck(certificate: Certificate): Pck {
  if (certificate.subjectName !== "Intel SGX PCK Certificate")
    throw new DerFault("its subject is not Intel SGX PCK Certificate");
  if (unknownCritical(certificate) !== null)
    throw new DerFault("it has a critical extension that is not known here");
  requireCurve(certificate.spki, "P-256");
  const extension = certificate.extensions.get(INTEL);
  if (extension === undefined) throw new DerFault("it has no extension of Intel's");
  const members = membersOf(readDer(extension.value, TAG.sequence));
  const tcb = membersOf(requireTag(members.get("2"), TAG.sequence));
  const svn = (number: number) => smallInteger(tcb.get(`2.${number}`));
  const svns = Array.from({ length: 16 }, (_, index) => svn(index + 1));
  if (svns.some((one) => one > 255)) throw new DerFault("a component's version is out of its range");
  return { fmspc: octets(members.get("4"), 6), pceId: octets(members.get("3"), 2), svns, pceSvn: svn(17) };
}

/** Pairs of a name below Intel's and a value; one name twice would leave it to the reader which one counts. */
function membersOf(list: Der): Map<string, Der> {
  const members = new Map<string, Der>();
  for (const pair of childrenOf(list)) {
    const [name, value, ...more] = childrenOf(requireTag(pair, TAG.sequence));
    const oid = oidOf(name);
    if (!oid.startsWith(`${INTEL}.`) || value === undefined || more.length > 0)
      throw new DerFault("a member of Intel's extension is malformed");
    const key = oid.slice(INTEL.length + 1);
    if (members.has(key)) throw new DerFault("a member of Intel's extension occurs twice");
    members.set(key, value);
  }
  return members;
}

function octets(der: Der | undefined, length: number): Uint8Array {
  const { body } = requireTag(der, TAG.octets);
  if (body.length !== length) throw new DerFault("a member of Intel's extension has another length");
  return body;
}
