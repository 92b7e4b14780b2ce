// SPDX-License-Identifier: Apache-2.0
/**
 * Judges what a machine answers about itself over TLS (`/nilcc/api/v2/report?nonce=…`): evidence, and around it what the evidence binds.
 * Whoever answers is the attacker: a host that ended TLS with a key of its own, that shows another machine's evidence or an old
 * one, that runs another compose file. Each of these fails a step of its own name.
 *
 *   answer     it is one, and its report data is what the evidence bound
 *   tls-key    the key that served it is the one in the report data
 *   fresh      so is the nonce
 *   manifest   the launch that the policy was computed for is the one it tells
 *   compose, files   are the verifier's own
 */
import { equalBytes, fromHex, hexOf } from "../bytes.ts";
import { parsePolicyFile } from "../policy/file.ts";
import { sha256 } from "../primitives.ts";
import { recogniseEvidence } from "../recognise.ts";
import { makeStep, needed, requireStep, type Step } from "../steps.ts";
import { type EvidenceVerdict, verifyEvidence } from "../verify.ts";
import type { LaunchManifest } from "./manifest.ts";
import { qualifyingDataOf, reportDataOf } from "./report-data.ts";

export interface ServedAnswer {
  /** The body, parsed. */
  answer: unknown;
  /** DER SubjectPublicKeyInfo of the certificate it was served with. */
  spki: Uint8Array;
  nonce: Uint8Array;
  /** The machine's, when something is about to be sealed to it: the evidence must be for that. */
  sealingKey?: Uint8Array;
  /** The name of a TPM's key that opened a credential, hex. */
  keyName?: string;
}

export interface ServedExpectation {
  /** A policy file as JSON, of the launch of this hash; null: nobody knows what is expected. */
  policyOf(launchSha256: string): Promise<object | null>;
  /** The verifier's own compose file and files, which the launch must name. */
  compose?: Uint8Array;
  files?: ReadonlyMap<string, Uint8Array>;
  beside: readonly Uint8Array[];
  atMs: number;
}

/** Of an answer of whatever kind: the bytes that `recogniseEvidence` reads. */
export function evidenceOf(answer: unknown): Uint8Array {
  const members = objectOf(answer);
  const evidence = members?.evidence ?? members;
  return new TextEncoder().encode(JSON.stringify(evidence ?? {}));
}

export async function judgeServed(
  { answer, spki, nonce, sealingKey, keyName }: ServedAnswer,
  { policyOf, compose, files, beside, atMs }: ServedExpectation,
): Promise<EvidenceVerdict> {
  const steps: Step[] = [];
  const step = async (name: string, judge: () => string | Promise<string>) => {
    steps.push(await makeStep(name, judge));
  };
  const members = objectOf(answer);
  const file = evidenceOf(answer);
  const claimed = bytesOf(members?.report_data, fromHex) ?? reportDataIn(file);
  const expected = await reportDataOf(
    spki,
    sealingKey === undefined ? { form: "report", nonce } : { form: "seal", nonce, sealingKey },
  );
  await step("answer", () => {
    requireStep(members !== null, "The machine's answer is no object.");
    requireStep(claimed?.length === 64, "The machine's answer says no report data of 64 bytes.");
    return "The machine answered with evidence.";
  });
  await step("tls-key", () => {
    const data = needed(claimed?.length === 64 ? claimed : null, "there is no report data");
    const same = equalBytes(data.subarray(1, 33), expected.subarray(1, 33));
    requireStep(
      same,
      "The certificate's key is not the one that the evidence is for: somebody else ends TLS.",
    );
    return "The certificate's key is the one that the evidence is for.";
  });
  await step("fresh", () => {
    const data = needed(claimed?.length === 64 ? claimed : null, "there is no report data");
    requireStep(data[0] === expected[0], "The report data is of another form than was asked for.");
    const same = equalBytes(data.subarray(33), expected.subarray(33));
    requireStep(same, "The evidence is for another nonce: it was made earlier, or for somebody else.");
    return "The evidence is for the nonce of this moment.";
  });
  const manifest = bytesOf(members?.manifest, fromBase64);
  const launch = manifest === null ? null : hexOf(await sha256(manifest));
  const said = manifest === null ? null : manifestOf(manifest);
  const policy = launch === null ? null : await policyOf(launch);
  await step("manifest", () => {
    requireStep(said !== null, "The machine tells no launch manifest.");
    return `The launch is ${launch}: ${said.domains.join(", ")} to ${said.publicService}:${said.publicPort}.`;
  });
  if (compose !== undefined)
    await step("compose", async () => {
      const { compose: named } = needed(said, "there is no manifest");
      const own = hexOf(await sha256(compose));
      requireStep(named === own, `The launch runs the compose file ${named}, and yours is ${own}.`);
      return "The launch runs your compose file.";
    });
  if (files !== undefined)
    await step("files", async () => {
      const named = needed(said, "there is no manifest").files;
      const own = new Map<string, string>();
      for (const [name, bytes] of files) own.set(name, hexOf(await sha256(bytes)));
      const others = Object.keys(named).filter((name) => own.get(name) !== named[name]);
      requireStep(
        others.length === 0,
        `The launch has other files than yours: ${others.slice(0, 5).join(", ")}.`,
      );
      const missing = [...own.keys()].filter((name) => !Object.hasOwn(named, name));
      requireStep(
        missing.length === 0,
        `The launch lacks files of yours: ${missing.slice(0, 5).join(", ")}.`,
      );
      return `The launch has your ${own.size} files and no others.`;
    });
  const reading = policy === null ? null : parsePolicyFile(policy);
  const isTpm = isTpmBundle(file);
  const bound = claimed?.length === 64 ? claimed : expected;
  const verdict = await verifyEvidence(file, beside, {
    ...{ atMs, policy: reading?.ok === true ? reading.policy : null },
    bound: isTpm ? await qualifyingDataOf(bound) : bound,
    ...(keyName !== undefined && { keyName }),
  });
  const held = steps.every(({ ok }) => ok);
  return {
    ...verdict,
    accepted: verdict.accepted && held,
    uncheckable: verdict.uncheckable && held,
    hardware: verdict.hardware && held,
    steps: [...steps, ...verdict.steps],
  };
}

const objectOf = (value: unknown): Record<string, unknown> | null =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;

const bytesOf = (value: unknown, read: (text: string) => Uint8Array | null): Uint8Array | null =>
  typeof value === "string" ? read(value) : null;

function fromBase64(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return null;
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** A report of SEV-SNP says its own. */
function reportDataIn(file: Uint8Array): Uint8Array | null {
  try {
    const known = recogniseEvidence(file);
    return known.platform === "sev-snp" ? known.evidence.report.subarray(0x50, 0x90) : null;
  } catch {
    return null;
  }
}

function isTpmBundle(file: Uint8Array): boolean {
  try {
    return recogniseEvidence(file).platform === "tpm";
  } catch {
    return false;
  }
}

/** Only what is shown or compared; the machine held itself to the rest. */
function manifestOf(
  bytes: Uint8Array,
): Pick<LaunchManifest, "compose" | "files" | "domains" | "publicService" | "publicPort"> | null {
  let value: Record<string, unknown> | null;
  try {
    value = objectOf(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return null;
  }
  const files = objectOf(value?.files);
  const { compose, domains, publicService, publicPort } = value ?? {};
  const isText = (one: unknown): one is string => typeof one === "string" && /^[\x20-\x7e]{0,512}$/.test(one);
  if (!isText(compose) || !isText(publicService) || !Number.isInteger(publicPort) || files === null)
    return null;
  if (!Array.isArray(domains) || !domains.every(isText)) return null;
  if (!Object.entries(files).every(([name, hash]) => isText(name) && isText(hash))) return null;
  return {
    compose,
    files: files as Record<string, string>,
    domains,
    publicService,
    publicPort: publicPort as number,
  };
}
