// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate log verify`: whether a transparency log only grew since a checkpoint of it was saved. It reads
 * static files, from a folder or a URL, and asks nobody what they mean.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { type OpenedCheckpoint, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { checkGrowth, type GrowthFailure, type ReadTile, TileFault } from "#evidence/log/growth.ts";
import { readNoteKey } from "#evidence/log/note.ts";
import { replaceFile } from "#files/replace.ts";
import { bytesOf } from "./evidence-files.ts";
import { commandOf, type Given, type Printing, UsageFault } from "./usage.ts";

const EXIT = { grew: 0, broken: 1, uncheckable: 3 } as const;

const USAGE = `Usage: casemate log verify --from <saved checkpoint> <folder|url> [options]

  <folder|url>             Where the log's files are: checkpoint and tile/…, as in https://…/log
  --from <file>            The checkpoint that you saved: what you know of the log.
  --log-key <key>          Pin a key of the log, as GET /log/keys has it. Repeatable. Without one, whoever serves
                           the files can add entries to what you know, and can change nothing of it.
  --save <file>            Write the newer checkpoint there when it holds, for the next time.
  --json                   Print the verdict as JSON.

Exit codes: 0 the log only grew, 1 it did not, 2 usage, 3 it cannot be told (a file is missing, nobody answers).
`;

const OPTIONS = {
  from: { type: "string" },
  "log-key": { type: "string", multiple: true },
  save: { type: "string" },
  json: { type: "boolean" },
} as const;

const SENTENCES: Record<GrowthFailure, string> = {
  log_origin_mismatch: "It is another log than the one you saved a checkpoint of.",
  log_key_unknown: "None of the keys that you pinned signed its newest checkpoint.",
  log_behind: "It has fewer entries than when you saved your checkpoint.",
  log_forked: "It has as many entries as when you saved your checkpoint, and other ones.",
  consistency_invalid: "Its first entries are not those of which you saved a checkpoint.",
};

/** Of one file: a full tile has 8 KiB, a checkpoint with all signatures that are read 64. */
const FILE_BYTES_MAX = 64 * 1024;
const TIMEOUT_MS = 30_000;

export const logVerifyCommand = commandOf(USAGE, OPTIONS, run);

async function run({ values, positionals }: Given<typeof OPTIONS>, { out, err }: Printing): Promise<number> {
  const [place] = positionals;
  if (place === undefined || positionals.length > 1) throw new UsageFault("Name one folder or URL.");
  if (values.from === undefined) throw new UsageFault("--from is the checkpoint that you saved.");
  const keys = (values["log-key"] ?? []).map((text) => {
    const key = readNoteKey(text);
    if (key === null) throw new UsageFault("--log-key is <name>+<id>+<base64>, as GET /log/keys has it.");
    return key;
  });
  const held = openCheckpoint(await bytesOf(values.from));
  if (held === null) throw new UsageFault(`${values.from} is no checkpoint of a log.`);
  const read = readerOf(place);
  let newest: OpenedCheckpoint | null;
  let failure: GrowthFailure | null;
  let note: Uint8Array | null;
  try {
    note = await read("checkpoint");
    newest = note === null ? null : openCheckpoint(note);
    if (note === null || newest === null) throw new TileFault(`${place} shows no checkpoint`);
    failure = await checkGrowth(held, newest, read, keys);
  } catch (cause) {
    if (!(cause instanceof TileFault)) throw cause;
    err(`It cannot be told whether the log only grew: ${cause.message}.\n`);
    return EXIT.uncheckable;
  }
  const verdict = {
    ...{ valid: failure === null, failure, origin: held.origin },
    ...{ from: held.size, size: newest.size, signed: keys.length > 0 && failure === null },
  };
  out(values.json ? `${JSON.stringify(verdict)}\n` : describe(verdict));
  if (failure !== null) return EXIT.broken;
  if (values.save !== undefined) await save(values.save, note);
  return EXIT.grew;
}

/** It may replace the only checkpoint that its reader has. */
async function save(file: string, note: Uint8Array): Promise<void> {
  try {
    await replaceFile(file, note, 0o644);
  } catch (cause) {
    throw new UsageFault(`Cannot write ${file}, which is as it was: ${(cause as Error).message}`, { cause });
  }
}

interface Verdict {
  failure: GrowthFailure | null;
  origin: string;
  from: number;
  size: number;
  signed: boolean;
}

function describe({ failure, origin, from, size, signed }: Verdict): string {
  if (failure !== null) return `${SENTENCES[failure]} (${failure})\n`;
  const by = signed ? "A key that you pinned signed it." : "Who signed it was not checked: give --log-key.";
  return `${origin} only grew: its ${size} entries begin with the ${from} of your checkpoint. ${by}\n`;
}

const readerOf = (place: string): ReadTile =>
  /^https?:\/\//.test(place)
    ? (path) => fetched(`${place.replace(/\/+$/, "")}/${path}`)
    : (path) => inFolder(join(place, path));

/** The folder may be an attacker's copy: a pipe or a device in it would keep the reader for ever. */
async function inFolder(path: string): Promise<Uint8Array | null> {
  try {
    // Without O_NONBLOCK the open of a pipe waits for its writer.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await file.stat();
    if (!found.isFile()) throw new TileFault(`${path} is no regular file`);
    if (found.size > FILE_BYTES_MAX) throw tooLarge(path);
    return await file.readFile();
  } catch (cause) {
    if (["ENOENT", "ENOTDIR"].includes((cause as NodeJS.ErrnoException).code ?? "")) return null;
    throw cause instanceof TileFault ? cause : new TileFault((cause as Error).message);
  }
}

/** What is served may be an attacker's: it may be long, slow or somewhere else. */
async function fetched(url: string): Promise<Uint8Array | null> {
  try {
    const answer = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.status === 404) return null;
    if (!answer.ok) throw new TileFault(`${url} answers ${answer.status}`);
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of answer.body ?? []) {
      parts.push(part);
      size += part.length;
      if (size > FILE_BYTES_MAX) throw tooLarge(url);
    }
    return Buffer.concat(parts);
  } catch (cause) {
    throw cause instanceof TileFault ? cause : new TileFault(`${url}: ${(cause as Error).message}`);
  }
}

const tooLarge = (name: string) => new TileFault(`${name} is larger than any file of a log`);
