// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest verify-snp`: judges a report of SEV-SNP offline, from raw files and the roots
 * pinned in this program. Nothing is fetched. A refusal names each step that failed, and prints those
 * that passed too.
 */
import { fromHex } from "#evidence/bytes.ts";
import { demandsOf } from "#evidence/policy/snp.ts";
import { REPORT_BYTES } from "#evidence/snp/report.ts";
import { verifySnp } from "#evidence/snp/verify.ts";
import { bytesOf, describeVerdict, piecesOf, policyPartOf, reportDataIn, timeOf } from "./evidence-files.ts";
import { commandOf, EXIT, type Given, OWN_IO, UsageFault, type Verifying } from "./usage.ts";

const USAGE = `Usage: casemate attest verify-snp --report <file> --leaf <file> --chain <dir> [options]

  --report <file>          The attestation report, 1184 bytes; hex digits are read too.
  --leaf <file>            The VCEK or VLEK certificate, DER or PEM.
  --chain <dir>            A folder, or one file, with the certificates above it, DER or PEM, in any order.
  --at <time>              Judge certificates at this time (ISO 8601). Default: now.
  --crl <file>             A revocation list, DER or PEM. Repeatable.
  --policy <file>          Reference values, YAML or JSON with a member "snp"; see docs/attestation.md.
  --report-data <hex>      The 64 bytes that the guest was to put into the report.
  --json                   Print {"accepted", "steps": [{"name", "ok", "detail"}], "unasked"}.

Exit codes: 0 accepted, 1 refused, 2 usage.
`;

const one = { type: "string" } as const;
const OPTIONS = {
  report: one,
  leaf: one,
  chain: one,
  at: one,
  policy: one,
  "report-data": one,
  crl: { type: "string", multiple: true },
  json: { type: "boolean" },
} as const;

export const verifySnpCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, io: Verifying): Promise<number> {
  const { report, leaf, chain } = values;
  if (report === undefined || leaf === undefined || chain === undefined || positionals.length > 0)
    throw new UsageFault("Name a report, a leaf and a folder with the chain.");
  const expected = reportDataIn(values["report-data"]);
  const atMs = values.at === undefined ? io.nowMs() : timeOf(values.at);
  const policy = values.policy === undefined ? null : await policyPartOf(values.policy, "snp");
  const verdict = await verifySnp(
    {
      report: unhexed(await bytesOf(report)),
      leaf: await bytesOf(leaf),
      chain: await piecesOf(chain),
      crls: await Promise.all((values.crl ?? []).map((file) => bytesOf(file))),
    },
    { atMs, demands: demandsOf(policy, expected) },
  );
  const { accepted, steps, unasked } = verdict;
  io.out(
    values.json === true
      ? `${JSON.stringify({ accepted, steps, unasked })}\n`
      : describeVerdict("report", verdict),
  );
  return accepted ? EXIT.accepted : EXIT.refused;
}

/** Guests write reports down as hex, too, in one line or many. No binary report is as long, so nothing is read two ways. */
function unhexed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < REPORT_BYTES * 2 || bytes.length > REPORT_BYTES * 4) return bytes;
  const text = String.fromCharCode(...bytes).replace(/\s/g, "");
  return text.length === REPORT_BYTES * 2 ? (fromHex(text) ?? bytes) : bytes;
}

if (import.meta.main) process.exitCode = await verifySnpCommand(process.argv.slice(2), OWN_IO);
