// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest verify-snp`: judges a report of SEV-SNP offline, from raw files and the roots
 * pinned in this program. Nothing is fetched. A refusal names each step that failed, and prints those
 * that passed too.
 */
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseDocument } from "yaml";
import { demandsOf, parseSnpPolicy, type SnpPolicy } from "#evidence/policy/snp.ts";
import { fromHex } from "#evidence/snp/bytes.ts";
import { FILE_BYTES_MAX } from "#evidence/snp/files.ts";
import { REPORT_BYTES } from "#evidence/snp/report.ts";
import { type SnpVerdict, verifySnp } from "#evidence/snp/verify.ts";
import { orUsage, UsageFault } from "./usage.ts";

export interface VerifySnpIo {
  out(text: string): void;
  err(text: string): void;
  nowMs(): number;
}

export const EXIT = { accepted: 0, refused: 1, usage: 2 } as const;

const USAGE = `Usage: casemate attest verify-snp --report <file> --leaf <file> --chain <dir> [options]

  --report <file>          The attestation report, 1184 bytes; hex digits are read too.
  --leaf <file>            The VCEK or VLEK certificate, DER or PEM.
  --chain <dir>            A folder with the certificates above it, DER or PEM, in any order.
  --at <time>              Judge certificates at this time (ISO 8601). Default: now.
  --crl <file>             A revocation list, DER or PEM. Repeatable.
  --policy <file>          Reference values, YAML or JSON with a member "snp"; see docs/attestation.md.
  --report-data <hex>      The 64 bytes that the guest was to put into the report.
  --json                   Print {"accepted", "steps": [{"name", "ok", "detail"}], "unasked"}.

Exit codes: 0 accepted, 1 refused, 2 usage.
`;

const CHAIN_FILES_MAX = 256;
const CHAIN_DEPTH_MAX = 3;
const POLICY_BYTES_MAX = 64 * 1024;

export const verifySnpCommand = (argv: string[], io: VerifySnpIo): Promise<number> =>
  orUsage(USAGE, io.err, () => run(argv, io));

async function run(argv: string[], io: VerifySnpIo): Promise<number> {
  const { values, positionals } = options(argv);
  if (values.help === true) {
    io.out(USAGE);
    return EXIT.accepted;
  }
  const { report, leaf, chain } = values;
  if (report === undefined || leaf === undefined || chain === undefined || positionals.length > 0)
    throw new UsageFault("Name a report, a leaf and a folder with the chain.");
  const reportData = values["report-data"] === undefined ? undefined : fromHex(values["report-data"]);
  if (reportData === null || (reportData !== undefined && reportData.length !== 64))
    throw new UsageFault("--report-data is 128 hex digits.");
  const atMs = values.at === undefined ? io.nowMs() : timeOf(values.at);
  const policy = values.policy === undefined ? null : await policyOf(values.policy);
  const verdict = await verifySnp(
    {
      report: unhexed(await bytesOf(report)),
      leaf: await bytesOf(leaf),
      chain: await filesOf(chain),
      crls: await Promise.all((values.crl ?? []).map((file) => bytesOf(file))),
    },
    { atMs, demands: demandsOf(policy, reportData === undefined ? {} : { reportData }) },
  );
  const { accepted, steps, unasked } = verdict;
  io.out(values.json === true ? `${JSON.stringify({ accepted, steps, unasked })}\n` : describe(verdict));
  return accepted ? EXIT.accepted : EXIT.refused;
}

function options(argv: string[]) {
  try {
    const one = { type: "string" } as const;
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        report: one,
        leaf: one,
        chain: one,
        at: one,
        policy: one,
        "report-data": one,
        crl: { type: "string", multiple: true },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (cause) {
    throw new UsageFault((cause as Error).message, { cause });
  }
}

/** A date alone is its first moment in UTC; a time has a zone, so that the answer does not depend on where it is asked. */
function timeOf(text: string): number {
  const form = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/;
  const ms = form.test(text) ? Date.parse(text) : Number.NaN;
  // JavaScript takes 30 February for a day in March.
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  if (Number.isNaN(ms) || Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) !== text.slice(0, 10))
    throw new UsageFault("--at is no ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z.");
  return ms;
}

async function policyOf(file: string): Promise<SnpPolicy> {
  const bytes = await bytesOf(file);
  if (bytes.length > POLICY_BYTES_MAX) throw new UsageFault("The policy is larger than 64 KiB.");
  const document = parseDocument(new TextDecoder().decode(bytes), { version: "1.2", uniqueKeys: true });
  if (document.errors.length > 0)
    throw new UsageFault(`The policy is no YAML: ${document.errors[0]!.message}`);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch (cause) {
    throw new UsageFault("The policy uses aliases.", { cause });
  }
  const whole = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const { snp, ...others } = whole;
  if (Object.keys(others).length > 0) throw new UsageFault("The policy has members beside snp.");
  const reading = parseSnpPolicy(snp);
  if (!reading.ok) throw new UsageFault(`The policy is refused: ${reading.faults.join("; ")}.`);
  return reading.policy;
}

/** Guests write reports down as hex, too. No binary report is as long, so nothing is read two ways. */
function unhexed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < REPORT_BYTES * 2 || bytes.length > REPORT_BYTES * 2 + 2) return bytes;
  const text = String.fromCharCode(...bytes).replace(/\r?\n$/, "");
  return text.length === REPORT_BYTES * 2 ? (fromHex(text) ?? bytes) : bytes;
}

/** One byte more than anything here may have, so that what reads it sees that it is too large. */
async function bytesOf(file: string): Promise<Uint8Array> {
  try {
    await using handle = await open(file);
    const buffer = new Uint8Array(FILE_BYTES_MAX + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
      length += bytesRead;
      if (bytesRead === 0 || length === buffer.length) return buffer.slice(0, length);
    }
  } catch (cause) {
    throw new UsageFault(`Cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
}

/** All regular files below the folder, also through a link; pipes and devices could keep the reader forever. */
async function filesOf(folder: string, depth = 0): Promise<Uint8Array[]> {
  const files: Uint8Array[] = [];
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: Error) => {
    throw new UsageFault(`Cannot read ${folder}: ${cause.message}`, { cause });
  });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) files.push(...(depth < CHAIN_DEPTH_MAX ? await filesOf(path, depth + 1) : []));
    else if ((await stat(path).catch(() => null))?.isFile()) files.push(await bytesOf(path));
    if (files.length > CHAIN_FILES_MAX)
      throw new UsageFault(`${folder} has more than ${CHAIN_FILES_MAX} files.`);
  }
  return files;
}

function describe({ accepted, steps, unasked }: SnpVerdict): string {
  const lines = steps.map(({ name, ok, detail }) => `${ok ? "ok  " : "FAIL"} ${name.padEnd(15)} ${detail}`);
  for (const { name, detail } of unasked) lines.push(`--   ${name.padEnd(15)} ${detail}`);
  lines.push(accepted ? "The report is accepted." : "The report is refused.");
  return `${lines.join("\n")}\n`;
}

if (import.meta.main) {
  process.exitCode = await verifySnpCommand(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    nowMs: Date.now,
  });
}
