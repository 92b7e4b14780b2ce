// SPDX-License-Identifier: Apache-2.0
/**
 * Judges evidence of SEV-SNP: a report, the certificate of the key that signed it, the certificates
 * above it. Pure and offline; the time is given. Total: every input gets a document, none an exception.
 *
 *  A. Accepted means that every step asked was made and passed. There is no other way to it.
 *  B. Steps do not hide each other: the signature is judged with the leaf's key also when nobody
 *     certified that key. Only all of them together mean something.
 *  C. Without a policy this says that AMD's hardware signed the report for a guest that nobody can debug.
 *     It does not say which guest: that is the policy's measurement, and `unasked` names what is open.
 */
import { allZero, equalBytes, hexOf } from "../bytes.ts";
import { ecdsaP384Verify, sha256 } from "../primitives.ts";
import { makeStep, needed, requireStep, type Step, StepFault, type Unasked } from "../steps.ts";
import type { Certificate } from "../x509/certificate.ts";
import { type Crl, judgeRevocation, parseCrl } from "../x509/crl.ts";
import { DerFault } from "../x509/der.ts";
import { certificatesOf, derOf, readableCertificatesOf } from "../x509/files.ts";
import { candidatesFor } from "../x509/path.ts";
import { faultOfLink, findRoot } from "./chain.ts";
import { type Leaf, readLeaf } from "./leaf.ts";
import { AMD_ROOTS, type Product, productOfCpuid, type Roots } from "./products.ts";
import { parseSnpReport, type SnpReport } from "./report.ts";
import { describeTcb, differing, readTcb, type Tcb } from "./tcb.ts";

export interface SnpEvidence {
  /** The report as the firmware made it, 1184 bytes. */
  report: Uint8Array;
  /** The VCEK or VLEK, DER or PEM, by itself. */
  leaf: Uint8Array;
  /** Files with the certificates above it, DER or PEM, in any order. Others among them do no harm. */
  chain: readonly Uint8Array[];
  /** Revocation lists, DER or PEM. Given ones are always judged. */
  crls?: readonly Uint8Array[];
}

/** What a policy asks of a report whose origin the other steps judge; see `evidence/policy`. */
export interface Demands {
  judge(facts: SnpFacts): readonly { name: string; judge: () => string | Promise<string> }[];
  /** Names that `judge` always answers, so that they are in the document also when there are no facts. */
  names: readonly string[];
  unasked: readonly Unasked[];
  crlRequired: boolean;
}

export interface SnpFacts {
  report: SnpReport;
  leaf: Leaf;
  reportedTcb: Tcb | null;
  launchTcb: Tcb | null;
  /** SHA-256 of the leaf's DER and of its public key, in hex. */
  leafHashes(): Promise<string[]>;
}

export interface SnpJudgement {
  /** The moment at which certificates and lists must be valid. */
  atMs: number;
  demands: Demands;
  /** For tests and simulators only: AMD's are the default. */
  roots?: Roots;
}

export interface SnpVerdict {
  accepted: boolean;
  product: Product | null;
  steps: Step[];
  unasked: Unasked[];
  /** What the report says, also of a refused one: then it is what was claimed and no more. */
  report: SnpReport | null;
}

const CHAIN_FILES_MAX = 256;
const CRL_FILES_MAX = 16;

/**
 * @example
 *   const { accepted, steps } = await verifySnp({ report, leaf, chain }, { atMs: Date.now(), demands: NO_DEMANDS });
 */
export async function verifySnp(evidence: SnpEvidence, judgement: SnpJudgement): Promise<SnpVerdict> {
  const { atMs, demands, roots = AMD_ROOTS } = judgement;
  const steps: Step[] = [];
  const step = async (name: string, judge: () => string | Promise<string>) => {
    steps.push(await makeStep(name, judge));
  };
  const { report, faults } = parseSnpReport(evidence.report);
  // Begun now and awaited in their steps: the signature takes longer than all the rest.
  const read = readLeafFile(evidence.leaf);
  const { certificate, leaf } = read;
  const signature =
    report !== null && certificate !== null
      ? ecdsaP384Verify(certificate.spki, report.signed, report.signature)
      : null;
  // A folder may hold anything. What is no certificate is not among the certificates.
  const others = evidence.chain.slice(0, CHAIN_FILES_MAX).flatMap(readableCertificatesOf);
  const product = leaf?.product ?? null;
  const found = product === null ? null : findRoot(others, product, roots);
  const path: { root: Certificate | null; intermediate: Certificate | null } = {
    root: null,
    intermediate: null,
  };

  // Against whoever hands over bytes that two readers would read differently.
  await step("report", () => {
    requireStep(report !== null && faults.length === 0, `The report is refused: ${faults.join("; ")}.`);
    return `The report is well formed, version ${report.version}.`;
  });
  // Against a key of some other purpose that AMD, or anyone, has certified.
  await step("leaf", () => {
    requireStep(leaf !== null, `The leaf is refused: ${read.fault}.`);
    return leaf.kind === "VCEK"
      ? `The leaf is a VCEK of ${leaf.productName}.`
      : `The leaf is a VLEK of ${leaf.productName}, for ${leaf.providerId}.`;
  });
  // Against the owner of an older line, whose weaknesses are known, who passes it off as a newer one.
  await step("product", () => {
    const line = needed(product, "the leaf names no line");
    const { cpuid } = needed(report, "the report cannot be read");
    if (cpuid === null) return `The leaf is of ${line}; a report of version 2 does not say its processor.`;
    const said = productOfCpuid(cpuid.family, cpuid.model);
    const words = `family ${cpuid.family}, model ${cpuid.model}`;
    requireStep(
      said === line,
      `The report is from ${said ?? "a line unknown here"} (${words}), the leaf from ${line}.`,
    );
    return `Leaf and report (${words}) are both of ${line}.`;
  });
  // Against everyone who can make a certificate that says it is AMD's.
  await step("root", async () => {
    const line = needed(product, "the leaf names no line");
    path.root = await found;
    requireStep(path.root !== null, `None of the certificates given is the pinned root of ${line}.`);
    return `ARK-${line} is the pinned root.`;
  });
  // Against a leaf that its holder made or changed.
  await step("chain", async () => {
    const from = needed(certificate, "the leaf cannot be read");
    const to = needed(path.root, "there is no root");
    const candidates = candidatesFor(others, from);
    requireStep(
      candidates.length > 0,
      `None of the certificates given is ${from.issuerName || "the leaf's issuer"}.`,
    );
    let fault: string | null = null;
    for (const candidate of candidates) {
      fault = await faultOfLink(from, candidate, to);
      if (fault !== null) continue;
      path.intermediate = candidate;
      return `${to.subjectName} signed ${candidate.subjectName}, and that the leaf.`;
    }
    throw new StepFault(fault!);
  });
  // Against keys that leaked after their time, and against clocks of certificates' own.
  await step("dates", () => {
    requireStep(Number.isFinite(atMs), "The time to judge at is no time.");
    for (const one of [certificate, path.intermediate, path.root]) {
      const { subjectName, notBeforeMs, notAfterMs } = needed(one, "the chain is not whole");
      requireStep(atMs >= notBeforeMs, `${subjectName} is not valid before ${iso(notBeforeMs)}.`);
      requireStep(atMs <= notAfterMs, `${subjectName} expired at ${iso(notAfterMs)}.`);
    }
    return `All certificates are valid at ${iso(atMs)}.`;
  });
  // Against the holder of a key that AMD has taken back.
  const lists = evidence.crls ?? [];
  const unasked = [...demands.unasked];
  if (lists.length > 0 || demands.crlRequired)
    await step("revocation", async () => {
      requireStep(lists.length > 0, "The policy demands a revocation list, and none was given.");
      requireStep(lists.length <= CRL_FILES_MAX, `More than ${CRL_FILES_MAX} revocation lists were given.`);
      const leafOf = needed(certificate, "the leaf cannot be read");
      const middle = needed(path.intermediate, "the chain is not whole");
      const root = needed(path.root, "there is no root");
      // Only the root can take back the intermediate, and AMD gives all leaves one serial number.
      const links = [
        { issuer: root, issued: middle, listRequired: true },
        { issuer: middle, issued: leafOf, listRequired: false },
      ];
      return `${await judgeRevocation(lists.flatMap(readCrls), links, "rsa-pss-sha384", atMs)}.`;
    });
  else unasked.push({ name: "revocation", detail: "Nobody looked whether AMD has revoked a certificate." });
  // Against a provider's key where a chip's is expected, and against a report that says nobody signed it.
  await step("signing-key", () => {
    const { signingKey, maskChipKey } = needed(report, "the report cannot be read");
    const { kind } = needed(leaf, "the leaf cannot be read");
    requireStep(
      signingKey === kind,
      `The report names ${signingKey} as its signing key, the leaf is a ${kind}.`,
    );
    requireStep(
      !(maskChipKey && kind === "VCEK"),
      "The report says that its chip's key is masked, yet it signed.",
    );
    return `The report was to be signed by a ${kind}, and the leaf is one.`;
  });
  // Against whoever writes or changes a report.
  await step("signature", async () => {
    const holds = await needed(
      signature,
      report === null ? "the report cannot be read" : "the leaf cannot be read",
    );
    requireStep(holds, "The leaf's key did not sign this report.");
    return "The leaf's key signed the report.";
  });
  // Against an operator who runs old firmware and shows the certificate of newer.
  const reportedTcb = report !== null && product !== null ? readTcb(report.reportedTcb, product) : null;
  await step("tcb", () => {
    needed(report, "the report cannot be read");
    const { tcb } = needed(leaf, "the leaf cannot be read");
    requireStep(reportedTcb !== null, "The reported TCB has reserved bytes that are not zero.");
    const parts = differing(reportedTcb, tcb, (a, b) => a !== b);
    requireStep(
      parts.length === 0,
      `The report says ${describeTcb(reportedTcb)}; the leaf is for ${describeTcb(tcb)} (${parts.join(", ")}).`,
    );
    return `Report and leaf have the same TCB: ${describeTcb(tcb)}.`;
  });
  // Against the owner of another chip, whose certificate is as good as this one.
  await step("hardware-id", () => {
    const { chipId } = needed(report, "the report cannot be read");
    const { hardwareId, providerId } = needed(leaf, "the leaf cannot be read");
    if (hardwareId === null) return `A VLEK belongs to a provider (${providerId}), not to a chip.`;
    requireStep(!allZero(chipId), "The report hides its chip, so the leaf cannot be held to it.");
    requireStep(
      equalBytes(chipId.subarray(0, hardwareId.length), hardwareId) &&
        allZero(chipId.subarray(hardwareId.length)),
      "The report is from another chip than the leaf.",
    );
    return `Report and leaf name the same chip (${hexOf(hardwareId.subarray(0, 8))}…).`;
  });
  // Against the operator, who can read and change a guest that may be debugged.
  await step("debug", () => {
    const { policy } = needed(report, "the report cannot be read");
    requireStep(
      !policy.debugAllowed,
      "The guest's policy lets the host debug it (bit 19), so it keeps nothing secret.",
    );
    return "The guest's policy lets nobody debug it.";
  });
  // Against a report that the host asked for, whose report data no guest chose.
  await step("vmpl", () => {
    const { vmpl } = needed(report, "the report cannot be read");
    requireStep(vmpl <= 3, `The report was not asked for by a guest (VMPL ${vmpl}).`);
    return `The report was asked for at VMPL ${vmpl}.`;
  });

  const facts =
    report !== null && leaf !== null && certificate !== null
      ? {
          report,
          leaf,
          reportedTcb,
          launchTcb: readTcb(report.launchTcb, leaf.product),
          leafHashes: () =>
            Promise.all([certificate.der, certificate.spki].map(async (bytes) => hexOf(await sha256(bytes)))),
        }
      : null;
  if (facts !== null) for (const { name, judge } of demands.judge(facts)) await step(name, judge);
  else
    for (const name of demands.names)
      await step(name, () => needed<string>(null, "report or leaf cannot be read"));
  return { accepted: steps.every(({ ok }) => ok), product, steps, unasked, report };
}

interface LeafReading {
  certificate: Certificate | null;
  leaf: Leaf | null;
  fault: string;
}

function readLeafFile(file: Uint8Array): LeafReading {
  let certificate: Certificate | null = null;
  try {
    const [first, ...more] = certificatesOf(file);
    if (more.length > 0) return { certificate, leaf: null, fault: "the file has more than one certificate" };
    certificate = first!;
    return { certificate, leaf: readLeaf(certificate), fault: "" };
  } catch (fault) {
    return {
      certificate,
      leaf: null,
      fault: fault instanceof DerFault ? fault.message : "it cannot be read",
    };
  }
}

/** A list that was given was given for a reason: one that cannot be read fails the step. */
function readCrls(file: Uint8Array): Crl[] {
  try {
    return derOf(file, "X509 CRL").map(parseCrl);
  } catch (fault) {
    throw new StepFault(
      `A revocation list is refused: ${fault instanceof DerFault ? fault.message : "unreadable"}.`,
    );
  }
}

function iso(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
