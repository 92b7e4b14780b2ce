// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest verify-tdx`: judges a quote of Intel TDX offline, from raw files and the root key pinned
 * in this program. Nothing is fetched. A refusal names each step that failed, and prints those that
 * passed too.
 */
import { fromHex } from "#evidence/bytes.ts";
import { tdxDemandsOf } from "#evidence/policy/tdx.ts";
import { QUOTE_BYTES_MAX } from "#evidence/tdx/quote.ts";
import { verifyTdx } from "#evidence/tdx/verify.ts";
import { bytesOf, describeVerdict, piecesOf, policyPartOf, reportDataIn, timeOf } from "./evidence-files.ts";
import { commandOf, EXIT, type Given, OWN_IO, UsageFault, type Verifying } from "./usage.ts";

const USAGE = `Usage: casemate attest verify-tdx --quote <file> --collateral <file|dir> [options]

  --quote <file>           The quote, version 4 or 5; hex digits are read too.
  --collateral <file|dir>  Intel's collateral: TCB info, identity of the quoting enclave, certificates and
                           revocation lists, as a folder, one document with all of it, or one by one.
                           Repeatable. Without it nothing is accepted.
  --at <time>              Judge everything at this time (ISO 8601). Default: now.
  --policy <file>          Reference values, YAML or JSON with a member "tdx"; see docs/attestation.md.
  --report-data <hex>      The 64 bytes that the guest was to put into the quote.
  --json                   Print {"accepted", "steps": [{"name", "ok", "detail"}], "unasked", "tcbStatus",
                           "advisories"}.

Exit codes: 0 accepted, 1 refused, 2 usage.
`;

const one = { type: "string" } as const;
const OPTIONS = {
  quote: one,
  collateral: { type: "string", multiple: true },
  at: one,
  policy: one,
  "report-data": one,
  json: { type: "boolean" },
} as const;

export const verifyTdxCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, io: Verifying): Promise<number> {
  const { quote, collateral = [] } = values;
  if (quote === undefined || positionals.length > 0) throw new UsageFault("Name a quote.");
  const expected = reportDataIn(values["report-data"]);
  const atMs = values.at === undefined ? io.nowMs() : timeOf(values.at);
  const policy = values.policy === undefined ? null : await policyPartOf(values.policy, "tdx");
  const verdict = await verifyTdx(
    {
      quote: unhexed(await bytesOf(quote)),
      collateral: (await Promise.all(collateral.map(piecesOf))).flat(),
    },
    { atMs, demands: tdxDemandsOf(policy, expected) },
  );
  const { accepted, steps, unasked, tcbStatus, advisories } = verdict;
  io.out(
    values.json === true
      ? `${JSON.stringify({ accepted, steps, unasked, tcbStatus, advisories })}\n`
      : describeVerdict("quote", verdict),
  );
  return accepted ? EXIT.accepted : EXIT.refused;
}

/** A quote begins with its version, which is no digit, so nothing is read two ways. */
function unhexed(bytes: Uint8Array): Uint8Array {
  if (bytes.length > QUOTE_BYTES_MAX * 2 + 2) return bytes;
  const text = new TextDecoder("latin1").decode(bytes).replace(/\r?\n$/, "");
  return text.length === 0 ? bytes : (fromHex(text) ?? bytes);
}

if (import.meta.main) process.exitCode = await verifyTdxCommand(process.argv.slice(2), OWN_IO);
