// SPDX-License-Identifier: Apache-2.0
/**
 * Looks for canaries where a host process could have left a session's bytes: spool folders (names and
 * contents) and logs. Each file is read once for all questions; what is beyond the bounds is counted
 * as not searched, so that silence about it cannot read as a clean answer. A file that was last
 * changed before a canary was made is not read for it: with a thousand machines alive most files of
 * the host's folder are other machines' and older.
 */
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ScanAnswer, ScanQuestion } from "./question.ts";

const FILE_BYTES_MAX = 64 * 1024 * 1024;
const FILES_MAX = 10_000;
const CHUNK = 1024 * 1024;
const DEPTH_MAX = 16;
const OVERLAP = 256;
/** The kernel stamps files by a coarse clock, and clocks are set now and then. */
const SLACK_MS = 5000;

interface Needle {
  question: ScanQuestion;
  forms: Buffer[];
}

type Traces = Pick<ScanAnswer, "folders" | "logs" | "notSearched">;

export function searchTraces(questions: readonly ScanQuestion[]): ReadonlyMap<ScanQuestion, Traces> {
  const answers = new Map(questions.map((question) => [question, { folders: 0, logs: 0, notSearched: 0 }]));
  const needles = questions.map((question) => ({
    question,
    forms: [Buffer.from(question.canaryHex, "latin1"), Buffer.from(question.canaryHex, "hex")],
  }));
  const wanting = (place: "folders" | "logs") => {
    const by = new Map<string, Needle[]>();
    for (const needle of needles)
      for (const path of needle.question[place]) by.set(path, [...(by.get(path) ?? []), needle]);
    return by;
  };
  for (const [folder, wanted] of wanting("folders"))
    for (const path of filesBelow(folder)) tell(wanted, answers, "folders", searchFile(path, wanted));
  for (const [log, wanted] of wanting("logs")) tell(wanted, answers, "logs", searchFile(log, wanted));
  return answers;
}

interface Found {
  hits: Set<Needle>;
  notSearched: number;
}

function tell(
  wanted: Needle[],
  answers: ReadonlyMap<ScanQuestion, Traces>,
  place: "folders" | "logs",
  found: Found,
): void {
  for (const needle of wanted) {
    const answer = answers.get(needle.question)!;
    if (found.hits.has(needle)) answer[place]++;
    answer.notSearched += found.notSearched;
  }
}

function* filesBelow(folder: string): Generator<string> {
  const waiting: [path: string, depth: number][] = [[folder, 0]];
  let files = 0;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [path, depth] = next;
    let entries: import("node:fs").Dirent[];
    try {
      entries = readdirSync(path, { withFileTypes: true });
    } catch {
      continue;
    }
    for (const entry of entries) {
      if (entry.isDirectory() && depth < DEPTH_MAX) waiting.push([join(path, entry.name), depth + 1]);
      else if (entry.isFile() && files++ < FILES_MAX) yield join(path, entry.name);
    }
  }
}

/** Files are read one after another, so one buffer is enough. */
const buffer = Buffer.alloc(CHUNK + OVERLAP);

/** The newest part of the file, in chunks that overlap by a needle's length. */
function searchFile(path: string, all: readonly Needle[]): Found {
  const hits = new Set<Needle>();
  for (const needle of all) if (path.includes(needle.question.canaryHex)) hits.add(needle);
  const changedMs = statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? Number.POSITIVE_INFINITY;
  const needles = all.filter(
    ({ question: { canarySinceMs } }) => canarySinceMs === null || changedMs >= canarySinceMs - SLACK_MS,
  );
  if (needles.length === 0) return { hits, notSearched: 0 };
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return { hits, notSearched: sizeOf(path) };
  }
  try {
    const size = sizeOf(path);
    const from = Math.max(0, size - FILE_BYTES_MAX);
    let kept = 0;
    for (let at = from; at < size; ) {
      const got = readSync(fd, buffer, kept, CHUNK, at);
      if (got === 0) break;
      const window = buffer.subarray(0, kept + got);
      for (const needle of needles) if (needle.forms.some((form) => window.includes(form))) hits.add(needle);
      kept = Math.min(OVERLAP, window.length);
      window.copy(buffer, 0, window.length - kept);
      at += got;
    }
    return { hits, notSearched: from };
  } finally {
    closeSync(fd);
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
