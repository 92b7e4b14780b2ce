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
import { commandOf, type Given, OWN_IO, UsageFault, EXIT as VERIFIER_EXIT, type Verifying } from "./usage.ts";
import { judgeMachineAt } from "./verify-served.ts";

const EXIT = { ...VERIFIER_EXIT, uncheckable: 3 } as const;

const USAGE = `Usage: casemate attest verify <file> --policy <file> [options]
       casemate attest verify <https://…> --image <image.json> [--compose <file>] [options]
       casemate attest verify <https://…> --policy <file> [options]

  <file>                   A bundle of evidence (JSON), a report of SEV-SNP, a quote of Intel TDX, or what a
                           confidential workload answers about itself; see docs/attestation.md.
  --policy <file>          Reference values, YAML or JSON with a part for each kind: "snp", "tdx", "tpm".
  <https://…>              A running machine. It is asked for evidence for a nonce of this moment, and held to the key it
                           serves TLS with.
  --image <image.json>     What is known of the image that the machine should run: its registers are computed from it
                           and the launch that the machine tells. For processors, beside a --policy with the part "tdx"
                           (mrTds and register 0 of a firmware that you accept) or "snp" (all but measurements). No TPM
                           is accepted then.
  --firmware <file>        For "snp": the firmware that the host starts machines with,
  --cpu-model <name>       its name of the processor in QEMU (EPYC-v4 without this), and
  --cpus <n>               how many the machine has.
  --compose <file>         Your compose file: the launch must run it.
  --file <name=file>       A file that was uploaded with it: the launch must have these and no others. Repeatable.
  --roots <file|dir>       Certificates of roots that may vouch for a TPM.
  --nonce <hex>            Instead of a random one, 16 to 64 bytes.
  --connect <host:port>    Where to connect instead of the name in the address.
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
  image: one,
  compose: one,
  file: { type: "string", multiple: true },
  roots: one,
  firmware: one,
  "cpu-model": one,
  cpus: one,
  nonce: one,
  connect: one,
  json: { type: "boolean" },
} as const;

export const verifyEvidenceCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, io: Verifying): Promise<number> {
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0)
    throw new UsageFault("Name one file of evidence, or one address of a machine.");
  const isServed = /^https:\/\//.test(file);
  const given = (name: keyof typeof values) => values[name] !== undefined;
  for (const name of SERVED_ONLY)
    if (!isServed && given(name)) throw new UsageFault(`--${name} is about a machine that is asked itself.`);
  for (const name of FILE_ONLY)
    if (isServed && given(name)) throw new UsageFault(`--${name} is about evidence in a file.`);
  const bound = values.bound === undefined ? undefined : fromHex(values.bound);
  if (bound === null || (bound !== undefined && bound.length > 64))
    throw new UsageFault("--bound is at most 128 hex digits.");
  const keyName = values["key-name"];
  if (keyName !== undefined && fromHex(keyName)?.length !== 34)
    throw new UsageFault("--key-name is 68 hex digits.");
  const atMs = values.at === undefined ? io.nowMs() : timeOf(values.at);
  const policy = values.policy === undefined ? null : await policyFileOf(values.policy);
  const beside = (await Promise.all((values.with ?? []).map(piecesOf))).flat();
  const verdict = isServed
    ? await judgeMachineAt(file, { ...values, beside, atMs })
    : await verifyEvidence(await bytesOf(file), beside, {
        atMs,
        policy,
        ...(bound !== undefined && { bound }),
        ...(keyName !== undefined && { keyName }),
      });
  io.out(values.json === true ? `${JSON.stringify(verdict)}\n` : describe(verdict));
  if (verdict.accepted) return EXIT.accepted;
  return verdict.uncheckable ? EXIT.uncheckable : EXIT.refused;
}

const SERVED_ONLY = [
  ...["image", "compose", "file", "roots", "firmware", "cpu-model", "cpus", "nonce", "connect"],
] as const;
const FILE_ONLY = ["bound", "key-name"] as const;

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

if (import.meta.main) process.exitCode = await verifyEvidenceCommand(process.argv.slice(2), OWN_IO);
