// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate log includes`: whether a guest image is an entry of the log of which the reader holds a checkpoint. An
 * operator who starts one machine with an image of its own must then show it to everybody, or have no proof of it.
 */
import { openCheckpoint } from "#evidence/log/checkpoint.ts";
import { imageEntry } from "#evidence/log/entry.ts";
import {
  checkHeld,
  checkIncluded,
  type InclusionFailure,
  type LogTrust,
  openInclusion,
  witnessedAt,
} from "#evidence/log/inclusion.ts";
import { COSIGNATURE, readNoteKey } from "#evidence/log/note.ts";
import { sha256Hex } from "#evidence/proofs/primitives.ts";
import { parseStrictJson } from "#evidence/proofs/strict-json.ts";
import { wireTime } from "#evidence/proofs/time.ts";
import { FAILURES } from "#evidence/proofs/verdict.ts";
import { bytesOf, imageBytesOf } from "./evidence-files.ts";
import { commandOf, type Given, type Printing, UsageFault } from "./usage.ts";

const EXIT = { included: 0, broken: 1 } as const;

const USAGE = `Usage: casemate log includes <image.json> --checkpoint <file> --inclusion <file> [options]

  <image.json>             What is known of a guest image: GET /guest-images/<sha256>, or the file beside a built one.
  --checkpoint <file>      The checkpoint of the log that you hold: saved before, or had from elsewhere.
  --inclusion <file>       The answer of GET /guest-images/<sha256>/transparency,
                           with ?size=<entries of your checkpoint> for an image older than it,
                           with ?from=<entries of your checkpoint> for a newer one.
  --log-key <key>          Pin a key of the log, as GET /log/keys has it. Repeatable.
  --witness <key>          Pin a witness of the log, as \`casemate witness\` prints its key. Repeatable.
  --json                   Print the verdict as JSON.

Exit codes: 0 it is in the log, 1 it is not shown to be, 2 usage.
`;

const OPTIONS = {
  checkpoint: { type: "string" },
  inclusion: { type: "string" },
  "log-key": { type: "string", multiple: true },
  witness: { type: "string", multiple: true },
  json: { type: "boolean" },
} as const;

export const logIncludesCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, { out }: Printing): Promise<number> {
  const [file] = positionals;
  if (file === undefined || positionals.length > 1) throw new UsageFault("Name one image.json.");
  if (values.checkpoint === undefined || values.inclusion === undefined)
    throw new UsageFault("Give --checkpoint, which you hold, and --inclusion.");
  const held = openCheckpoint(await bytesOf(values.checkpoint));
  if (held === null) throw new UsageFault(`${values.checkpoint} is no checkpoint of a log.`);
  const trust: LogTrust = {
    held,
    keys: (values["log-key"] ?? []).map((text) => requireKey(text, "--log-key")),
    witnesses: (values.witness ?? []).map((text) => requireKey(text, "--witness")),
  };
  const parsed = parseStrictJson(await bytesOf(values.inclusion));
  if (!parsed.ok) throw new UsageFault(`${values.inclusion} is not usable JSON (${parsed.code}).`);
  const sha256 = sha256Hex(await imageBytesOf(file));
  const shown = openInclusion(parsed.value);
  const failures: (InclusionFailure | "inclusion_malformed")[] =
    shown === null
      ? ["inclusion_malformed"]
      : [...checkIncluded(imageEntry(sha256), shown), ...checkHeld(shown, trust)];
  const seconds = shown === null ? null : witnessedAt(shown, trust);
  const seenAt = seconds === null ? null : wireTime(new Date(seconds * 1000));
  const index = shown?.index ?? null;
  if (values.json)
    out(`${JSON.stringify({ valid: failures.length === 0, sha256, index, failures, seenAt })}\n`);
  else out(describe(sha256, index, failures, seenAt));
  return failures.length === 0 ? EXIT.included : EXIT.broken;
}

function describe(
  sha256: string,
  index: number | null,
  failures: readonly (InclusionFailure | "inclusion_malformed")[],
  seenAt: string | null,
): string {
  if (failures.length > 0)
    return failures
      .map((one) => `failure: ${IMAGE_SENTENCES[one] ?? FAILURES[one].sentence} (${one})\n`)
      .join("");
  const seen = seenAt === null ? "" : ` A witness had seen it at ${seenAt}.`;
  return `sha256:${sha256} is entry ${index} of the log of which you hold a checkpoint.${seen}\n`;
}

/** The others speak of the log alone. */
const IMAGE_SENTENCES: Partial<Record<InclusionFailure | "inclusion_malformed", string>> = {
  inclusion_invalid: "The image is not in the tree of the checkpoint it came with.",
  inclusion_malformed:
    "What is to show the image in the log does not have its form, or contradicts its own checkpoint.",
  witness_missing: "None of the pinned witnesses signed a checkpoint over the tree that the image is in.",
};

function requireKey(text: string, option: "--log-key" | "--witness") {
  const key = readNoteKey(text);
  if (key === null || (option === "--witness" && key.type !== COSIGNATURE))
    throw new UsageFault(
      option === "--witness"
        ? "--witness is a key as `casemate witness` prints it."
        : "--log-key is <name>+<id>+<base64>, as GET /log/keys has it.",
    );
  return key;
}
