// SPDX-License-Identifier: Apache-2.0
/**
 * The certificate of the key that made a report, among those that a host handed its guest and those that a cache has: a host's may
 * be of firmware before an update, and AMD issues one key's certificate anew with other dates. Nothing is believed by this: the one
 * that is found is judged, and another than the right one is refused by its signature.
 */
import { allZero, equalBytes } from "../bytes.ts";
import type { Certificate } from "../x509/certificate.ts";
import { readLeaf } from "./leaf.ts";
import { parseSnpReport, type SnpReport } from "./report.ts";
import { differing, readTcb } from "./tcb.ts";

/** Null where none is the report's, or nobody could say which of several keys is meant. */
export function findLeaf(report: Uint8Array, certificates: readonly Certificate[]): Certificate | null {
  const leaves = certificates.filter(
    ({ subjectName }) => subjectName === "SEV-VCEK" || subjectName === "SEV-VLEK",
  );
  const { report: read } = parseSnpReport(report);
  const own = read === null ? [] : leaves.filter((one) => isOf(one, read));
  return onlyKeyOf(own) ?? onlyKeyOf(leaves);
}

/** The latest certificate of a key, if there is one key. */
function onlyKeyOf(leaves: readonly Certificate[]): Certificate | null {
  const [first] = leaves;
  if (first === undefined || leaves.some(({ spki }) => !equalBytes(spki, first.spki))) return null;
  return leaves.reduce((latest, one) => (one.notAfterMs > latest.notAfterMs ? one : latest));
}

function isOf(certificate: Certificate, report: SnpReport): boolean {
  try {
    const { kind, product, tcb, hardwareId } = readLeaf(certificate);
    const reported = readTcb(report.reportedTcb, product);
    const isSameChip =
      hardwareId === null ||
      (equalBytes(report.chipId.subarray(0, hardwareId.length), hardwareId) &&
        allZero(report.chipId.subarray(hardwareId.length)));
    return (
      kind === report.signingKey &&
      isSameChip &&
      reported !== null &&
      differing(reported, tcb, (a, b) => a !== b).length === 0
    );
  } catch {
    return false;
  }
}
