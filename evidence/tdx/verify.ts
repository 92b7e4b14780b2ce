// SPDX-License-Identifier: Apache-2.0
/**
 * Judges evidence of Intel TDX: a quote, and Intel's collateral for the platform that made it. Pure and
 * offline; the time is given. Total: every input gets a document, none an exception.
 *
 *  A. Accepted means that every step asked was made and passed. There is no other way to it.
 *  B. Steps do not hide each other: a signature is judged with its key also when nobody certified that
 *     key. Only all of them together mean something.
 *  C. Collateral is required, all of it, and current: without it nobody knows whether the platform's
 *     weaknesses are known, or its key was taken back.
 *  D. Which states of a platform's TCB are accepted is told by the policy, and only `UpToDate` without one.
 *     `Revoked` never is.
 *  E. Without a policy this says that Intel's hardware signed the quote for a guest that nobody can debug. It
 *     does not say which guest.
 */
import { allZero, equalBytes, hexOf } from "../bytes.ts";
import { ecdsaP256PointVerify, ecdsaP256Verify, sha256 } from "../primitives.ts";
import { makeStep, needed, requireStep, type Step, StepFault, type Unasked } from "../steps.ts";
import { type Certificate, unknownCritical } from "../x509/certificate.ts";
import { judgeRevocation } from "../x509/crl.ts";
import { requireCurve } from "../x509/curve.ts";
import { DerFault } from "../x509/der.ts";
import { readableCertificatesOf } from "../x509/files.ts";
import { candidatesFor, faultOfIssue } from "../x509/path.ts";
import { type Collateral, readCollateral, type SignedText } from "./collateral.ts";
import { judgeByLibrary } from "./cross-check.ts";
import { type Pck, readPck } from "./pck.ts";
import { parseTdxQuote, type TdxQuote } from "./quote.ts";
import { INTEL_ROOT_KEYS, isRoot } from "./roots.ts";
import { type Dated, type Level, parseQeIdentity, parseTcbInfo, type TcbInfo } from "./signed-json.ts";
import { enclaveLevel, moduleLevel, platformLevel } from "./tcb.ts";
import { converge, type TcbStatus } from "./tcb-status.ts";

export interface TdxEvidence {
  quote: Uint8Array;
  /** Files of Intel's collateral, in any order. Others among them do no harm. */
  collateral: readonly Uint8Array[];
}

/** What a policy asks of a quote whose origin the other steps judge; see `evidence/policy`. */
export interface TdxDemands {
  judge(facts: TdxFacts): readonly { name: string; judge: () => string | Promise<string> }[];
  /** Names that `judge` always answers, so that they are in the document also when there are no facts. */
  names: readonly string[];
  unasked: readonly Unasked[];
  tcbStatuses: readonly TcbStatus[];
}

export interface TdxFacts {
  quote: TdxQuote;
  /** Of TCB info and identity, the lower number; null when one of them cannot be read. */
  evaluation: number | null;
}

export interface TdxJudgement {
  /** The moment at which certificates, lists and collateral must be valid. */
  atMs: number;
  demands: TdxDemands;
  /** SHA-256 of the root's key. For tests and simulators only: Intel's is the default. */
  rootKeys?: readonly string[];
}

export interface TdxVerdict {
  accepted: boolean;
  steps: Step[];
  unasked: Unasked[];
  /** What Intel says of the platform; null when it cannot be told. */
  tcbStatus: TcbStatus | null;
  advisories: string[];
  /** What the quote says, also of a refused one: then it is what was claimed and no more. */
  quote: TdxQuote | null;
}

const ECDSA = "ecdsa-p256-sha256";
const PCK_ISSUERS = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];
const TCB_SIGNER = "Intel SGX TCB Signing";

/**
 * @example
 *   const { accepted, steps } = await verifyTdx({ quote, collateral }, { atMs: Date.now(), demands: tdxDemandsOf(policy) });
 */
export async function verifyTdx(evidence: TdxEvidence, judgement: TdxJudgement): Promise<TdxVerdict> {
  const { atMs, demands, rootKeys = INTEL_ROOT_KEYS } = judgement;
  const steps: Step[] = [];
  const step = async (name: string, judge: () => string | Promise<string>) => {
    steps.push(await makeStep(name, judge));
  };
  const { quote, faults } = parseTdxQuote(evidence.quote);
  const collateral = readCollateral(evidence.collateral);
  const inQuote = quote === null ? [] : readableCertificatesOf(quote.certificates);
  const all = [...inQuote, ...collateral.certificates];
  const { certificate, pck, fault } = readLeaf(inQuote);
  const read = choose(collateral, pck);
  const path: Record<"root" | "issuer" | "signer", Certificate | null> = {
    root: null,
    issuer: null,
    signer: null,
  };
  const noQuote = "the quote cannot be read";
  const noPck = "the PCK certificate cannot be read";

  // Against whoever hands over bytes that two readers would read differently.
  await step("quote", () => {
    requireStep(quote !== null && faults.length === 0, `The quote is refused: ${faults.join("; ")}.`);
    return `The quote is well formed, version ${quote.version}, of TDX ${quote.report}.`;
  });
  // Against a key of some other purpose that Intel, or anyone, has certified.
  await step("pck", () => {
    needed(quote, noQuote);
    requireStep(pck !== null, `The PCK certificate is refused: ${fault}.`);
    return `The quote carries a PCK certificate, of the platform ${hexOf(pck.fmspc)}.`;
  });
  // Against everyone who can make a certificate that says it is Intel's.
  await step("root", async () => {
    for (const one of all.filter(isRootByName).slice(0, 8))
      if (path.root === null && (await isRoot(one, rootKeys))) path.root = one;
    requireStep(path.root !== null, "None of the certificates given has the pinned key of Intel's root.");
    return "Intel's root is the pinned one.";
  });
  // Against a PCK certificate that its holder made or changed.
  await step("chain", async () => {
    const from = needed(certificate, noPck);
    const to = needed(path.root, "there is no root");
    path.issuer = await issuerOf(from, all, (one) => PCK_ISSUERS.includes(one.subjectName), to);
    return `${to.subjectName} signed ${path.issuer.subjectName}, and that the PCK certificate.`;
  });
  // Against collateral that somebody else wrote.
  await step("collateral-signer", async () => {
    const to = needed(path.root, "there is no root");
    path.signer = await signerOf(collateral, to);
    return `${to.subjectName} signed ${TCB_SIGNER}.`;
  });
  // Against keys that leaked after their time.
  await step("dates", () => {
    requireStep(Number.isFinite(atMs), "The time to judge at is no time.");
    for (const one of [certificate, path.issuer, path.signer, path.root]) {
      const { subjectName, notBeforeMs, notAfterMs } = needed(one, "the chains are not whole");
      requireStep(atMs >= notBeforeMs, `${subjectName} is not valid before ${iso(notBeforeMs)}.`);
      requireStep(atMs <= notAfterMs, `${subjectName} expired at ${iso(notAfterMs)}.`);
    }
    return `All certificates are valid at ${iso(atMs)}.`;
  });
  // Against the holder of a key that Intel has taken back.
  await step("revocation", async () => {
    const root = needed(path.root, "there is no root");
    const issuer = needed(path.issuer, "the chain is not whole");
    const links = [
      { issuer: root, issued: issuer, listRequired: true },
      { issuer: root, issued: needed(path.signer, "the collateral has no signer"), listRequired: true },
      { issuer, issued: needed(certificate, noPck), listRequired: true },
    ];
    const lists = collateral.crls.map(({ crl }) => crl);
    return `${await judgeRevocation(lists, links, ECDSA, atMs)}.`;
  });
  // Against a quoting enclave on no platform of Intel's.
  await step("qe-signature", async () => {
    const { qe } = needed(quote, noQuote);
    const { spki } = needed(certificate, noPck);
    requireStep(
      await ecdsaP256Verify(spki, qe.report, qe.signature),
      "The platform's PCK key did not sign the quoting enclave's report.",
    );
    return "The platform's PCK key signed the quoting enclave's report.";
  });
  // Against an attestation key that the quoting enclave did not make.
  await step("key-binding", async () => {
    const { qe, attestationKey } = needed(quote, noQuote);
    const bound = await sha256(Uint8Array.from([...attestationKey, ...qe.authData]));
    requireStep(
      equalBytes(qe.reportData.subarray(0, 32), bound) && allZero(qe.reportData.subarray(32)),
      "The quoting enclave's report does not name the attestation key.",
    );
    return "The quoting enclave's report names the attestation key.";
  });
  // Against whoever writes or changes a quote.
  await step("signature", async () => {
    const { attestationKey, signed, signature } = needed(quote, noQuote);
    requireStep(
      await ecdsaP256PointVerify(attestationKey, signed, signature),
      "The attestation key did not sign this quote.",
    );
    return "The attestation key signed the quote.";
  });
  // Against whoever would write what Intel says of a platform.
  for (const [name, words, one] of [
    ["tcb-info", "TCB info", read.tcbInfo],
    ["qe-identity", "identity of the quoting enclave", read.qeIdentity],
  ] as const)
    await step(name, async () => {
      requireStep(one !== null, `The collateral has no ${words}.`);
      requireStep(one.value !== null, one.fault);
      const { spki } = needed(path.signer, "the collateral has no signer");
      const text = new TextEncoder().encode(one.source.text);
      requireStep(
        await ecdsaP256Verify(spki, text, one.source.signature),
        `${TCB_SIGNER} did not sign the ${words}.`,
      );
      return `${TCB_SIGNER} signed the ${words}, number ${one.value.evaluation}.`;
    });
  // Against an operator who shows what Intel said before a weakness was known.
  await step("collateral-dates", () => {
    for (const [words, one] of [
      ["TCB info", read.tcbInfo],
      ["identity of the quoting enclave", read.qeIdentity],
    ] as const) {
      const { issuedMs, nextUpdateMs } = needed<Dated>(one?.value, `there is no ${words}`);
      requireStep(Number.isFinite(atMs), "The time to judge at is no time.");
      requireStep(atMs >= issuedMs, `The ${words} is of ${iso(issuedMs)}, a time to come.`);
      requireStep(atMs <= nextUpdateMs, `The ${words} was to be renewed by ${iso(nextUpdateMs)}.`);
    }
    return `TCB info and identity are current at ${iso(atMs)}.`;
  });
  // Against the TCB info of another kind of platform, whose levels this one would pass.
  await step("fmspc", () => {
    const { fmspc, pceId } = needed(pck, noPck);
    const info = needed<TcbInfo>(read.tcbInfo?.value, "there is no TCB info");
    requireStep(
      equalBytes(fmspc, info.fmspc),
      `The platform is ${hexOf(fmspc)}, the TCB info is for ${hexOf(info.fmspc)}.`,
    );
    requireStep(equalBytes(pceId, info.pceId), "The TCB info is for another provisioning enclave.");
    return `Platform and TCB info are both ${hexOf(fmspc)}.`;
  });

  const levels: Record<"platform" | "module" | "enclave", Level | null> = {
    platform: null,
    module: null,
    enclave: null,
  };
  let moduleJudged = false;
  // Against an enclave that signs whatever it is given.
  await step("quoting-enclave", () => {
    const { qe } = needed(quote, noQuote);
    const identity = needed(read.qeIdentity?.value, "there is no identity of the quoting enclave");
    levels.enclave = enclaveLevel(identity, qe);
    return `The quoting enclave is Intel's, version ${qe.isvSvn}.`;
  });
  // Against a TDX module that keeps no guest from its operator.
  await step("tdx-module", () => {
    const info = needed<TcbInfo>(read.tcbInfo?.value, "there is no TCB info");
    levels.module = moduleLevel(info, needed(quote, noQuote));
    moduleJudged = true;
    return "The TDX module is Intel's.";
  });
  // Against an operator who runs firmware with known weaknesses.
  let status: TcbStatus | null = null;
  await step("tcb", () => {
    const info = needed<TcbInfo>(read.tcbInfo?.value, "there is no TCB info");
    levels.platform = platformLevel(info, needed(pck, noPck), needed(quote, noQuote));
    const enclave = needed(levels.enclave, "the quoting enclave is not Intel's");
    requireStep(moduleJudged, "Could not be made: the TDX module is not Intel's.");
    status = converge(levels.platform.status, enclave.status);
    if (levels.module !== null) status = converge(status, levels.module.status);
    requireAccepted(status, demands, "The TCB is");
    return `The TCB is ${status}.`;
  });
  // Against an operator who reads the guest through the debugger.
  await step("debug", () => {
    const { tdAttributes } = needed(quote, noQuote);
    requireStep(tdAttributes[0] === 0, "The guest may be debugged (TUD), so it keeps nothing secret.");
    return "Nobody can debug the guest.";
  });
  // Against attributes whose weakness nobody here knows, and page faults that the host raises inside.
  await step("attributes", () => {
    const { tdAttributes, mrServiceTd } = needed(quote, noQuote);
    const bits = new DataView(tdAttributes.buffer, tdAttributes.byteOffset).getBigUint64(0, true);
    requireStep((bits & SEPT_VE_DISABLE) !== 0n, "The host can raise exceptions in the guest (SEPT_VE).");
    requireStep((bits & MIGRATABLE) === 0n, "The guest can be migrated, so another takes its state.");
    requireStep((bits & RESERVED) === 0n, "Reserved attributes of the guest are set.");
    requireStep(mrServiceTd === null || allZero(mrServiceTd), "A service TD is bound to the guest.");
    return "The guest has none but known attributes.";
  });
  // Against our own mistakes.
  await step("library", () => {
    const lists = (issuer: Certificate | null) =>
      collateral.crls.find(({ crl }) => issuer !== null && equalBytes(crl.issuer, issuer.subject))?.der;
    const said = judgeByLibrary({
      bytes: evidence.quote,
      root: needed(path.root, "there is no root"),
      signer: needed(path.signer, "the collateral has no signer"),
      tcbInfo: needed(read.tcbInfo?.source, "there is no TCB info"),
      qeIdentity: needed(read.qeIdentity?.source, "there is no identity of the quoting enclave"),
      rootCrl: needed(lists(path.root), "the root has no revocation list"),
      pckCrl: needed(lists(path.issuer), "the issuer has no revocation list"),
      atMs,
    });
    requireAccepted(said, demands, "The library says that the TCB is");
    return `A second implementation accepts the evidence, and says ${said}.`;
  });

  const evaluations = [read.tcbInfo?.value?.evaluation, read.qeIdentity?.value?.evaluation];
  const facts =
    quote === null
      ? null
      : {
          quote,
          evaluation: evaluations.some((one) => one === undefined)
            ? null
            : Math.min(...(evaluations as number[])),
        };
  if (facts !== null) for (const { name, judge } of demands.judge(facts)) await step(name, judge);
  else for (const name of demands.names) await step(name, () => needed<string>(null, noQuote));
  const advisories = Object.values(levels).flatMap((level) => level?.advisories ?? []);
  return {
    accepted: steps.every(({ ok }) => ok),
    steps,
    unasked: [...demands.unasked],
    tcbStatus: status,
    advisories: [...new Set(advisories)],
    quote,
  };
}

/** Intel, "TDX Module Base", TD ATTRIBUTES. Known: 28 SEPT_VE_DISABLE, 30 PKS, 31 KL, 63 PERFMON. */
const SEPT_VE_DISABLE = 1n << 28n;
const MIGRATABLE = 1n << 29n;
const RESERVED = ~(0xffn | SEPT_VE_DISABLE | MIGRATABLE | (1n << 30n) | (1n << 31n) | (1n << 63n));

function requireAccepted(status: TcbStatus, { tcbStatuses }: TdxDemands, words: string): void {
  const accepted = status !== "Revoked" && tcbStatuses.includes(status);
  requireStep(accepted, `${words} ${status}, and accepted is ${tcbStatuses.join(", ") || "none"}.`);
}

const isRootByName = ({ subjectName }: Certificate) => subjectName === "Intel SGX Root CA";

interface LeafReading {
  certificate: Certificate | null;
  pck: Pck | null;
  fault: string;
}

function readLeaf([certificate]: readonly Certificate[]): LeafReading {
  if (certificate === undefined) return { certificate: null, pck: null, fault: "there is none" };
  try {
    return { certificate, pck: readPck(certificate), fault: "" };
  } catch (fault) {
    return { certificate, pck: null, fault: fault instanceof DerFault ? fault.message : "unreadable" };
  }
}

/** Who issued a certificate, and was itself issued by the root; throws `StepFault` when nobody was. */
async function issuerOf(
  issued: Certificate,
  all: readonly Certificate[],
  isNamed: (one: Certificate) => boolean,
  root: Certificate,
): Promise<Certificate> {
  const candidates = candidatesFor(all, issued).filter(isNamed);
  let fault = "None of the certificates given has issued the PCK certificate.";
  for (const candidate of candidates) {
    const found =
      (await faultOfIssue(root, candidate, ECDSA)) ?? (await faultOfIssue(candidate, issued, ECDSA));
    if (found === null) return candidate;
    fault = found;
  }
  throw new StepFault(fault);
}

/** The collateral may have several; one that the root issued is as good as any. */
async function signerOf({ certificates }: Collateral, root: Certificate): Promise<Certificate> {
  let fault = `The collateral has no certificate of ${TCB_SIGNER}.`;
  for (const one of certificates.filter(({ subjectName }) => subjectName === TCB_SIGNER).slice(0, 8)) {
    const critical = unknownCritical(one);
    const found =
      critical === null
        ? await faultOfIssue(root, one, ECDSA)
        : `${TCB_SIGNER} has the critical extension ${critical}, not known here.`;
    if (found === null && isOnP256(one)) return one;
    fault = found ?? `${TCB_SIGNER} is not on the curve P-256.`;
  }
  throw new StepFault(fault);
}

function isOnP256({ spki }: Certificate): boolean {
  try {
    requireCurve(spki, "P-256");
    return true;
  } catch {
    return false;
  }
}

interface Reading<T> {
  source: SignedText;
  value: T | null;
  fault: string;
}

/**
 * Of several, what is the latest for this platform: a host may have handed its guest what is out of date, and a cache has the one of
 * now; and the service says other things of SGX in the same form. Otherwise the first, so that the document says what is wrong with it.
 */
function choose(collateral: Collateral, pck: Pck | null) {
  const infos = collateral.tcbInfos.map((one) => readingOf(one, parseTcbInfo));
  const own = infos.filter(
    ({ value }) => value !== null && pck !== null && equalBytes(value.fmspc, pck.fmspc),
  );
  const identities = collateral.qeIdentities.map((one) => readingOf(one, parseQeIdentity));
  return {
    tcbInfo: latestOf(own) ?? infos[0] ?? null,
    qeIdentity: latestOf(identities) ?? identities[0] ?? null,
  };
}

function latestOf<T extends Dated>(readings: readonly Reading<T>[]): Reading<T> | null {
  const issued = ({ value }: Reading<T>) => value?.issuedMs ?? Number.NEGATIVE_INFINITY;
  const readable = readings.filter(({ value }) => value !== null);
  return readable.reduce<Reading<T> | null>(
    (latest, one) => (latest === null || issued(one) > issued(latest) ? one : latest),
    null,
  );
}

function readingOf<T>(source: SignedText, parse: (text: string) => T): Reading<T> {
  try {
    return { source, value: parse(source.text), fault: "" };
  } catch (fault) {
    return { source, value: null, fault: fault instanceof StepFault ? fault.message : "It cannot be read." };
  }
}

function iso(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
