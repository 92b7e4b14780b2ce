// SPDX-License-Identifier: Apache-2.0
/** What the offline verifiers of evidence read: files and folders that anyone may have filled, a policy, a time. */
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { fromHex } from "#evidence/bytes.ts";
import { type PolicyFile, parsePolicyFile } from "#evidence/policy/file.ts";
import { FILE_BYTES_MAX } from "#evidence/x509/files.ts";
import { UsageFault } from "./usage.ts";

const FOLDER_FILES_MAX = 256;
const FOLDER_DEPTH_MAX = 3;
const POLICY_BYTES_MAX = 64 * 1024;

/** One byte more than anything here may have, so that what reads it sees that it is too large. */
export async function bytesOf(file: string): Promise<Uint8Array> {
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

const IMAGE_BYTES_MAX = 512 * 1024 * 1024;

/** An image or its metadata: larger than evidence may be, and a regular file, whose size is known before it is read. */
export async function imageBytesOf(file: string): Promise<Uint8Array> {
  try {
    await using handle = await open(file);
    const found = await handle.stat();
    if (!found.isFile()) throw new Error("it is no regular file");
    if (found.size > IMAGE_BYTES_MAX) throw new Error("it is larger than 512 MiB");
    return Uint8Array.from(await handle.readFile());
  } catch (cause) {
    throw new UsageFault(`Cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
}

/** A file, or all files of a folder. */
export async function piecesOf(path: string): Promise<Uint8Array[]> {
  const found = await stat(path).catch((cause: Error) => {
    throw new UsageFault(`Cannot read ${path}: ${cause.message}`, { cause });
  });
  return found.isDirectory() ? filesOf(path) : [await bytesOf(path)];
}

/** All regular files below the folder, also through a link; pipes and devices could keep the reader forever. */
export async function filesOf(folder: string, depth = 0): Promise<Uint8Array[]> {
  const files: Uint8Array[] = [];
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: Error) => {
    throw new UsageFault(`Cannot read ${folder}: ${cause.message}`, { cause });
  });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) files.push(...(depth < FOLDER_DEPTH_MAX ? await filesOf(path, depth + 1) : []));
    else if ((await stat(path).catch(() => null))?.isFile()) files.push(await bytesOf(path));
    if (files.length > FOLDER_FILES_MAX)
      throw new UsageFault(`${folder} has more than ${FOLDER_FILES_MAX} files.`);
  }
  return files;
}

/** A date alone is its first moment in UTC; a time has a zone, so that the answer does not depend on where it is asked. */
export function timeOf(text: string): number {
  const form = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/;
  const ms = form.test(text) ? Date.parse(text) : Number.NaN;
  // JavaScript takes 30 February for a day in March.
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  if (Number.isNaN(ms) || Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) !== text.slice(0, 10))
    throw new UsageFault("--at is no ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z.");
  return ms;
}

/** What a guest was to bind, as `--report-data` says it. */
export function reportDataIn(hex: string | undefined): { reportData?: Uint8Array } {
  if (hex === undefined) return {};
  const reportData = fromHex(hex);
  if (reportData?.length !== 64) throw new UsageFault("--report-data is 128 hex digits.");
  return { reportData };
}

/** A policy file, which is YAML or JSON with no aliases and no member twice. */
export async function policyFileOf(file: string): Promise<PolicyFile> {
  const reading = parsePolicyFile(await policyValueOf(file));
  if (!reading.ok) throw new Error("a policy that was read before");
  return reading.policy;
}

/** What it says, which is a policy. */
export async function policyValueOf(file: string): Promise<object> {
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
  const reading = parsePolicyFile(value);
  if (!reading.ok) throw new UsageFault(`The policy is refused: ${reading.faults.join("; ")}.`);
  return value as object;
}

/** The part for one kind of evidence. To judge without it, when a policy was given, would be to ask for nothing. */
export async function policyPartOf<Part extends keyof PolicyFile>(
  file: string,
  part: Part,
): Promise<NonNullable<PolicyFile[Part]>> {
  const found = (await policyFileOf(file))[part];
  if (found === null) throw new UsageFault(`The policy has no part "${part}".`);
  return found;
}

interface Described {
  accepted: boolean;
  steps: readonly { name: string; ok: boolean; detail: string }[];
  unasked: readonly { name: string; detail: string }[];
}

/** Every step on a line, in words; what nobody looked at last. */
export function describeVerdict(what: string, { accepted, steps, unasked }: Described): string {
  const lines = steps.map(({ name, ok, detail }) => `${ok ? "ok  " : "FAIL"} ${name.padEnd(17)} ${detail}`);
  for (const { name, detail } of unasked) lines.push(`--   ${name.padEnd(17)} ${detail}`);
  lines.push(`The ${what} is ${accepted ? "accepted" : "refused"}.`);
  return `${lines.join("\n")}\n`;
}
