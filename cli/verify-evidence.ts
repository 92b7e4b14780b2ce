// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest verify`: judges evidence of any kind that is known here under one policy, offline, and says
 * what it found in words. What is genuine but measured by no policy is answered with exit code 3, never
 * with 0: nobody said which machine was expected.
 */
import { fromHex } from "#evidence/bytes.ts";
import type { Platform } from "#evidence/recognise.ts";
import { type EvidenceVerdict, verifyEvidence } from "#evidence/verify.ts";
import { bytesOf, describeVerdict, piecesOf, policyFileOf, timeOf } from "./evidence-files.ts";
import { optionsOf, orUsage, UsageFault } from "./usage.ts";

export interface VerifyEvidenceIo {
  out(text: string): void;
  err(text: string): void;
  nowMs(): number;
}

export const EXIT = { accepted: 0, refused: 1, usage: 2, uncheckable: 3 } as const;

const USAGE = `Usage: casemate attest verify <file> --policy <file> [options]

  <file>                   A bundle of evidence (JSON), a report of SEV-SNP, a quote of Intel TDX, or what a
                           confidential workload answers about itself; see docs/attestation.md.
  --policy <file>          Reference values, YAML or JSON with a part for each kind: "snp", "tdx", "tpm".
  --with <file|dir>        Certificates, revocation lists and collateral that are not in the file. Repeatable.
  --bound <hex>            What the guest was to bind: 64 bytes of report data, or a TPM's nonce.
  --key-name <hex>         Of a TPM: the name of a key that has opened a credential.
  --at <time>              Judge certificates and lists at this time (ISO 8601). Default: now.
  --json                   Print {"platform", "accepted", "uncheckable", "hardware", "steps": [{"name", "ok",
                           "detail"}], "unasked"}.

Exit codes: 0 accepted under the policy, 1 refused, 2 usage, 3 genuine, but no policy says what was expected.
`;

const one = { type: "string" } as const;
const OPTIONS = {
  policy: one,
  with: { type: "string", multiple: true },
  bound: one,
  "key-name": one,
  at: one,
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

export const verifyEvidenceCommand = (argv: string[], io: VerifyEvidenceIo): Promise<number> =>
  orUsage(USAGE, io.err, () => run(argv, io));

async function run(argv: string[], io: VerifyEvidenceIo): Promise<number> {
  const { values, positionals } = optionsOf(argv, OPTIONS);
  if (values.help === true) {
    io.out(USAGE);
    return EXIT.accepted;
  }
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) throw new UsageFault("Name one file of evidence.");
  const bound = values.bound === undefined ? undefined : fromHex(values.bound);
  if (bound === null || (bound !== undefined && bound.length > 64))
    throw new UsageFault("--bound is at most 128 hex digits.");
  const keyName = values["key-name"];
  if (keyName !== undefined && fromHex(keyName)?.length !== 34)
    throw new UsageFault("--key-name is 68 hex digits.");
  const atMs = values.at === undefined ? io.nowMs() : timeOf(values.at);
  const policy = values.policy === undefined ? null : await policyFileOf(values.policy);
  const beside = (await Promise.all((values.with ?? []).map(piecesOf))).flat();
  const verdict = await verifyEvidence(await bytesOf(file), beside, {
    atMs,
    policy,
    ...(bound !== undefined && { bound }),
    ...(keyName !== undefined && { keyName }),
  });
  io.out(values.json === true ? `${JSON.stringify(verdict)}\n` : describe(verdict));
  if (verdict.accepted) return EXIT.accepted;
  return verdict.uncheckable ? EXIT.uncheckable : EXIT.refused;
}

const WORDS: Record<Platform, string> = {
  "sev-snp": "a report of AMD SEV-SNP",
  tdx: "a quote of Intel TDX",
  tpm: "a quote of a TPM, which may be one in software: its operator is trusted",
};

function describe(verdict: EvidenceVerdict): string {
  const { platform, uncheckable } = verdict;
  const head = platform === null ? "" : `This is ${WORDS[platform]}.\n`;
  const whole = head + describeVerdict("evidence", verdict);
  if (!uncheckable) return whole;
  return whole.replace(
    /The evidence is refused\.\n$/,
    "Every step passed, but no policy says what was expected of this kind of evidence: nothing is accepted.\n",
  );
}

if (import.meta.main) {
  process.exitCode = await verifyEvidenceCommand(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    nowMs: Date.now,
  });
}
