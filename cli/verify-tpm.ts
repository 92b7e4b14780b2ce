// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest verify-tpm`: judges a quote of a TPM 2.0 offline, from the files that common tools write. A
 * refusal names each step that failed, and prints those that passed too. It never says hardware: a TPM
 * in software is in its operator's hands, and nothing here tells one from the other.
 */
import { fromHex } from "#evidence/bytes.ts";
import { tpmDemandsOf } from "#evidence/policy/tpm.ts";
import { verifyTpm } from "#evidence/tpm/verify.ts";
import { bytesOf, describeVerdict, piecesOf, policyPartOf, timeOf } from "./evidence-files.ts";
import { commandOf, EXIT, type Given, OWN_IO, UsageFault, type Verifying } from "./usage.ts";

const USAGE = `Usage: casemate attest verify-tpm --quote <file> --signature <file> --key <file> [options]

  --quote <file>           What the TPM signed (TPMS_ATTEST; tpm2_quote -m).
  --signature <file>       Its signature (TPMT_SIGNATURE; tpm2_quote -s with -f tss).
  --key <file>             The key that signed (TPM2B_PUBLIC; tpm2_createak -u with -f tss).
  --event-log <file>       The firmware's log (binary_bios_measurements).
  --pcr <n>=<hex>          A register's value, where there is no log. Repeatable.
  --endorsement <file|dir> The endorsement key's certificate first, then those above it. Repeatable.
  --nonce <hex>            What was to be bound into the quote, at most 64 bytes.
  --key-name <hex>         The name of a key that has opened a credential.
  --at <time>              Judge certificates at this time (ISO 8601). Default: now.
  --policy <file>          Reference values, YAML or JSON with a member "tpm"; see docs/attestation.md.
  --json                   Print {"accepted", "hardware": false, "steps": [{"name", "ok", "detail"}], "unasked",
                           "keyName", "pcrs"}.

Exit codes: 0 accepted, 1 refused, 2 usage.
`;

const one = { type: "string" } as const;
const many = { type: "string", multiple: true } as const;
const OPTIONS = {
  quote: one,
  signature: one,
  key: one,
  "event-log": one,
  pcr: many,
  endorsement: many,
  nonce: one,
  "key-name": one,
  at: one,
  policy: one,
  json: { type: "boolean" },
} as const;

export const verifyTpmCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, io: Verifying): Promise<number> {
  const { quote, signature, key } = values;
  if (quote === undefined || signature === undefined || key === undefined || positionals.length > 0)
    throw new UsageFault("Name a quote, its signature and the key that signed.");
  const nonce = values.nonce === undefined ? undefined : fromHex(values.nonce);
  if (nonce === null || (nonce !== undefined && nonce.length > 64))
    throw new UsageFault("--nonce is at most 128 hex digits.");
  const keyName = values["key-name"];
  if (keyName !== undefined && fromHex(keyName)?.length !== 34)
    throw new UsageFault("--key-name is 68 hex digits.");
  const atMs = values.at === undefined ? io.nowMs() : timeOf(values.at);
  const policy = values.policy === undefined ? null : await policyPartOf(values.policy, "tpm");
  const verdict = await verifyTpm(
    {
      quote: await bytesOf(quote),
      signature: await bytesOf(signature),
      key: await bytesOf(key),
      endorsement: (await Promise.all((values.endorsement ?? []).map(piecesOf))).flat(),
      ...(values.pcr !== undefined && { pcrs: registersOf(values.pcr) }),
      ...(values["event-log"] !== undefined && { eventLog: await bytesOf(values["event-log"]) }),
    },
    {
      atMs,
      demands: tpmDemandsOf(policy, {
        ...(nonce !== undefined && { nonce }),
        ...(keyName !== undefined && { keyName }),
      }),
    },
  );
  io.out(values.json === true ? `${JSON.stringify(verdict)}\n` : describeVerdict("quote", verdict));
  return verdict.accepted ? EXIT.accepted : EXIT.refused;
}

function registersOf(given: readonly string[]): Map<number, Uint8Array> {
  const registers = new Map<number, Uint8Array>();
  for (const one of given) {
    const [, pcr, hex] = /^(\d|1\d|2[0-3])=([0-9a-fA-F]{64})$/.exec(one) ?? [];
    if (pcr === undefined || registers.has(Number(pcr)))
      throw new UsageFault("--pcr is a register from 0 to 23, once, and 64 hex digits: 4=00…");
    registers.set(Number(pcr), fromHex(hex!)!);
  }
  return registers;
}

if (import.meta.main) process.exitCode = await verifyTpmCommand(process.argv.slice(2), OWN_IO);
