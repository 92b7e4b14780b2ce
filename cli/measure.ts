// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate attest measure`: what the registers of a TPM come to when an image is started with a command line, as a
 * part of a policy. Computed from the files alone, before anything is started.
 */

import { bootFactsOf, expectedPcrs } from "#evidence/tpm/expected.ts";
import { TpmFault } from "#evidence/tpm/wire.ts";
import { commandLine, parseMetadata } from "#images/metadata.ts";
import { imageBytesOf } from "./evidence-files.ts";
import { optionsOf, orUsage, UsageFault } from "./usage.ts";

export interface MeasureIo {
  out(text: string): void;
  err(text: string): void;
}

const USAGE = `Usage: casemate attest measure <image.json> --launch <sha256>
       casemate attest measure <image.efi> --command-line <line>

  <image.json>             What is known of an image; the command line is the image's own for the launch.
  <image.efi>              The image that firmware starts.
  --launch <sha256>        The hash of the launch manifest, 64 lower-case hex digits.
  --command-line <line>    The whole line that the image is started with.
  --json                   Print {"tpm": {"pcrs": {"4": ["…"], …}}} instead of YAML.

Exit codes: 0 computed, 1 the image or the line cannot be measured, 2 usage.
`;

const OPTIONS = {
  launch: { type: "string" },
  "command-line": { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

export const measureCommand = (argv: string[], io: MeasureIo): Promise<number> =>
  orUsage(USAGE, io.err, () => run(argv, io));

async function run(argv: string[], io: MeasureIo): Promise<number> {
  const { values, positionals } = optionsOf(argv, OPTIONS);
  if (values.help === true) {
    io.out(USAGE);
    return 0;
  }
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) throw new UsageFault("Name one image.");
  const { launch, "command-line": line } = values;
  if ((launch === undefined) === (line === undefined))
    throw new UsageFault("Give either --launch or --command-line.");
  const bytes = await imageBytesOf(file);
  try {
    const pcrs =
      launch === undefined
        ? await expectedPcrs(await bootFactsOf(bytes), line!)
        : await fromMetadata(bytes, launch);
    const part = Object.fromEntries(Object.entries(pcrs).map(([pcr, value]) => [pcr, [value]]));
    const lines = Object.entries(pcrs).map(([pcr, value]) => `    ${pcr}: ["${value}"]\n`);
    io.out(
      values.json === true
        ? `${JSON.stringify({ tpm: { pcrs: part } })}\n`
        : `tpm:\n  pcrs:\n${lines.join("")}`,
    );
    return 0;
  } catch (fault) {
    if (!(fault instanceof TpmFault)) throw fault;
    io.err(`The image cannot be measured: ${fault.message}.\n`);
    return 1;
  }
}

function fromMetadata(bytes: Uint8Array, launch: string) {
  if (!/^[0-9a-f]{64}$/.test(launch)) throw new UsageFault("--launch is 64 lower-case hex digits.");
  let metadata: ReturnType<typeof parseMetadata>;
  try {
    metadata = parseMetadata(new TextDecoder().decode(bytes));
  } catch (fault) {
    throw new TpmFault(fault instanceof Error ? fault.message : "its metadata cannot be read");
  }
  const { uki, kernelAuthenticodeSha256 } = metadata.boot;
  if (!Array.isArray(uki?.sections)) throw new TpmFault("its metadata has no sections");
  return expectedPcrs({ uki, kernelAuthenticodeSha256 }, commandLine(metadata, launch));
}
