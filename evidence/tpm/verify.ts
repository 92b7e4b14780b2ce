// SPDX-License-Identifier: Apache-2.0
/**
 * Judges evidence of a TPM 2.0: a quote, the key that signed it, the log of what was measured. Pure and
 * offline; the time is given. Total: every input gets a document, none an exception.
 *
 *  A. Accepted means that every step asked was made and passed. There is no other way to it.
 *  B. Steps do not hide each other.
 *  C. `hardware` is false on every verdict. A TPM in software is in the hands of whoever runs the machine, who
 *     can write any quote and certify any key; nothing here can tell one from the other. So this proves
 *     what a guest started to a verifier who trusts the operator, and is no confidential computing.
 *  D. A quote does not say that its key lives in a TPM. That is shown once, by `makeCredential` and the secret
 *     that comes back, and remembered by the key's name, which a policy or the caller says.
 */
import { concatBytes, equalBytes, hexOf } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import { makeStep, needed, requireStep, type Step, StepFault, type Unasked } from "../steps.ts";
import type { Certificate } from "../x509/certificate.ts";
import { certificatesOf } from "../x509/files.ts";
import { judgeEndorsement } from "./endorsement.ts";
import { type EventLog, initial, parseEventLog, replay } from "./event-log.ts";
import { faultOfAttributes, nameOf, parseSigningKey, type TpmKey } from "./public.ts";
import { parseTpmQuote, signatureHolds, type TpmQuote } from "./quote.ts";
import { TpmFault } from "./wire.ts";

export interface TpmEvidence {
  /** TPMS_ATTEST, as the TPM made it. */
  quote: Uint8Array;
  /** TPMT_SIGNATURE. */
  signature: Uint8Array;
  /** TPMT_PUBLIC or TPM2B_PUBLIC of the key that signed. */
  key: Uint8Array;
  /** Values of the SHA-256 bank; without them, those that the log comes to. */
  pcrs?: ReadonlyMap<number, Uint8Array>;
  /** `binary_bios_measurements`. */
  eventLog?: Uint8Array;
  /** The endorsement key's certificate and those above it, DER or PEM, in any order but that it is first. */
  endorsement?: readonly Uint8Array[];
}

/** What a policy asks; see `evidence/policy`. */
export interface TpmDemands {
  judge(facts: TpmFacts): readonly { name: string; judge: () => string | Promise<string> }[];
  /** Names that `judge` always answers, so that they are in the document also when there are no facts. */
  names: readonly string[];
  unasked: readonly Unasked[];
  /** SHA-256 of the keys of roots that may vouch for an endorsement key; null when nobody asked. */
  endorsementRoots: readonly string[] | null;
}

export interface TpmFacts {
  quote: TpmQuote;
  /** Of the key, in hex; null when it cannot be read. */
  keyName: string | null;
  /** Those that the quote covers, and only when they come to its digest. */
  pcrs: ReadonlyMap<number, Uint8Array> | null;
}

export interface TpmJudgement {
  atMs: number;
  demands: TpmDemands;
}

export interface TpmVerdict {
  accepted: boolean;
  hardware: false;
  steps: Step[];
  unasked: Unasked[];
  keyName: string | null;
  /** What was quoted, also of a refused one: then it is what was claimed and no more. In hex. */
  pcrs: Record<number, string>;
}

const ENDORSEMENT_FILES_MAX = 16;

/**
 * @example
 *   const { accepted } = await verifyTpm({ quote, signature, key, eventLog }, { atMs: Date.now(), demands: tpmDemandsOf(policy, { nonce }) });
 */
export async function verifyTpm(evidence: TpmEvidence, { atMs, demands }: TpmJudgement): Promise<TpmVerdict> {
  const steps: Step[] = [];
  const step = async (name: string, judge: () => string | Promise<string>) => {
    steps.push(await makeStep(name, judge));
  };
  const key = reading<TpmKey>(() => parseSigningKey(evidence.key));
  const quote = reading<TpmQuote>(() => parseTpmQuote(evidence.quote));
  const log =
    evidence.eventLog === undefined ? null : reading<EventLog>(() => parseEventLog(evidence.eventLog!));
  const keyName = key.value === null ? null : hexOf(await nameOf(key.value));
  const replayed = log?.value == null ? null : await replay(log.value);
  const said =
    quote.value === null ? null : valuesOf(quote.value, evidence.pcrs, replayed, log?.value ?? null);
  const noQuote = "the quote cannot be read";

  // Against a key that would sign anything, and so also what only looks like a quote.
  await step("key", () => {
    requireStep(key.value !== null, `The key is refused: ${key.fault}.`);
    const fault = faultOfAttributes(key.value);
    requireStep(fault === null, `The key is refused: ${fault}.`);
    return `The key may sign only what its TPM made (${key.value.scheme}), name ${keyName}.`;
  });
  // Against whoever hands over bytes that two readers would read differently.
  await step("quote", () => {
    requireStep(quote.value !== null, `The quote is refused: ${quote.fault}.`);
    return `The quote is well formed, of registers ${quote.value.selection.join(", ")}.`;
  });
  // Against whoever writes or changes a quote.
  await step("signature", async () => {
    const by = needed(key.value, "the key cannot be read");
    const holds = await signatureHolds(by, evidence.signature, evidence.quote).catch((fault: unknown) => {
      throw fault instanceof TpmFault ? new StepFault(`The signature is refused: ${fault.message}.`) : fault;
    });
    requireStep(holds, "The key did not sign this quote.");
    return "The key signed the quote.";
  });
  // Against registers that were not the quoted ones.
  let pcrs: ReadonlyMap<number, Uint8Array> | null = null;
  await step("pcrs", async () => {
    const { pcrDigest, selection } = needed(quote.value, noQuote);
    requireStep(said !== null, "There are neither values of the registers nor a log to compute them from.");
    requireStep(
      equalBytes(await sha256(concatBytes(...selection.map((pcr) => said.get(pcr)!))), pcrDigest),
      "The registers do not come to the quote's digest.",
    );
    pcrs = said;
    return "The registers come to the quote's digest.";
  });
  // Against a log that tells another story than the registers.
  if (log !== null)
    await step("event-log", () => {
      requireStep(log.value !== null, `The log is refused: ${log.fault}.`);
      const quoted = needed(pcrs, "the registers are not the quote's");
      for (const [pcr, value] of quoted) {
        const expected = replayed!.get(pcr) ?? initial(pcr, log.value.startupLocality);
        requireStep(equalBytes(value, expected), `The log does not come to register ${pcr}.`);
      }
      return `${log.value.events.length} events come to the quoted registers.`;
    });
  // Against a TPM that nobody vouches for.
  const unasked = [...demands.unasked];
  if (demands.endorsementRoots !== null)
    await step("endorsement", () => {
      const [first, ...others] = (evidence.endorsement ?? [])
        .slice(0, ENDORSEMENT_FILES_MAX)
        .flatMap(certificatesIn);
      requireStep(first !== undefined, "The evidence has no certificate of an endorsement key.");
      return judgeEndorsement(first, others, demands.endorsementRoots!, atMs);
    });
  else
    unasked.push({
      name: "endorsement",
      detail: "Nobody asked who vouches for the TPM: anyone may have made it.",
    });

  const facts = quote.value === null ? null : { quote: quote.value, keyName, pcrs };
  if (facts !== null) for (const { name, judge } of demands.judge(facts)) await step(name, judge);
  else for (const name of demands.names) await step(name, () => needed<string>(null, noQuote));
  return {
    accepted: steps.every(({ ok }) => ok),
    hardware: false,
    steps,
    unasked,
    keyName,
    pcrs: Object.fromEntries([...(said ?? [])].map(([pcr, value]) => [pcr, hexOf(value)])),
  };
}

/** Of each quoted register; null when one is nowhere said. */
function valuesOf(
  { selection }: TpmQuote,
  given: ReadonlyMap<number, Uint8Array> | undefined,
  replayed: ReadonlyMap<number, Uint8Array> | null,
  log: EventLog | null,
): Map<number, Uint8Array> | null {
  const values = new Map<number, Uint8Array>();
  for (const pcr of selection) {
    const value =
      given === undefined
        ? (replayed?.get(pcr) ?? (log === null ? undefined : initial(pcr, log.startupLocality)))
        : given.get(pcr);
    if (value?.length !== 32) return null;
    values.set(pcr, value);
  }
  return values;
}

interface Reading<T> {
  value: T | null;
  fault: string;
}

function reading<T>(parse: () => T): Reading<T> {
  try {
    return { value: parse(), fault: "" };
  } catch (fault) {
    return { value: null, fault: fault instanceof TpmFault ? fault.message : "it cannot be read" };
  }
}

function certificatesIn(file: Uint8Array): Certificate[] {
  try {
    return certificatesOf(file);
  } catch {
    return [];
  }
}
