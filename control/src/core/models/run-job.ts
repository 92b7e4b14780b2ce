// SPDX-License-Identifier: Apache-2.0
/**
 * Has a confined child read a stranger's model, and hands back what it said and wrote. Models are read
 * nowhere else: this process parses none and loads none.
 *
 *  A. A job has a folder of its own with the files that it may touch, made before it starts and gone when
 *     this returns. What a process that died left is removed at the next start (`clearWork`).
 *  B. What the child says is held against the schema of its lines, and what it wrote is a file of bounded
 *     size. A child that hangs, eats or crashes is the model's fault, told as a rule.
 *  C. Where no walls can be had the job is not done: `models.unconfined`.
 */
import { randomUUID } from "node:crypto";
import { existsSync, realpathSync } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { Value } from "typebox/value";
import { type Ended, runAlone } from "#confine/alone.ts";
import { Fault } from "#contract/errors.ts";
import { INSIDE } from "#models/inside.ts";
import { type Answer, type Job, Line, type Rule } from "#models/job.ts";

export interface ChildLimits {
  memoryMiB: number;
  timeoutMs: number;
  /** Of one file it writes. */
  fileBytesMax: number;
}

export type Files = Partial<Record<keyof typeof INSIDE, AsyncIterable<Uint8Array>>>;

export interface RunJob {
  /** Of this process alone. */
  folder: string;
  limits: ChildLimits;
  job: Job;
  /** What it reads: `input`, and perhaps `other`. */
  files: Files;
  onProgress(progress: number, log: string): void;
  signal: AbortSignal;
}

export type JobDone<T> = { ok: true; value: T } | { ok: false; rules: Rule[] };
/** `out` is a file that goes when `use` has ended. */
export type UseAnswer<T> = (answer: Answer, out: string) => Promise<T>;

const ROOT = new URL("../../../..", import.meta.url).pathname.replace(/\/$/, "");
/** All that the child's program is made of. */
const PACKAGES = [
  ...["onnxruntime-node", "onnxruntime-common", "onnx-buf", "@bufbuild", "yauzl", "pend"],
  ...["sharp", "@img", "detect-libc", "semver"],
];
const MADE = ["model", "scratch", "out"] as const;
const LINE_MAX = 64 * 1024 * 1024;
const LINES_MAX = 1000;
const HEAP_SHARE = 0.5;

export async function runJob<T>(options: RunJob, use: UseAnswer<T>): Promise<JobDone<T>> {
  const folder = join(options.folder, randomUUID());
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    for (const [name, source] of Object.entries(options.files)) await write(join(folder, name), source);
    for (const name of MADE) await write(join(folder, name), nothing());
    const { ended, answer, refusal } = await start(options, folder);
    if (refusal !== null) return { ok: false, rules: refusal };
    if (ended.how === "ended" && answer !== null)
      return { ok: true, value: await use(answer, join(folder, "out")) };
    return { ok: false, rules: [ruleOf(ended, options)] };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a process that died left (A). */
export async function clearWork(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

async function start({ limits, job, files, onProgress, signal }: RunJob, folder: string) {
  let answer: Answer | null = null;
  let refusal: Rule[] | null = null;
  const onLine = (text: string) => {
    const line = lineOf(text);
    if (line === null) return;
    if ("answer" in line) answer = line.answer.op === job.op ? line.answer : null;
    else if ("refusal" in line) refusal = line.refusal.rules;
    else onProgress(line.progress, line.log);
  };
  const node = realpathSync(process.execPath);
  const modules = PACKAGES.map((name) => join(ROOT, "node_modules", name)).filter((path) => existsSync(path));
  const within = (names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [join(folder, name), INSIDE[name as keyof typeof INSIDE]]));
  const ended = await runAlone({
    command: node,
    args: [
      ...[
        "--disable-warning=ExperimentalWarning",
        `--max-old-space-size=${Math.ceil(limits.memoryMiB * HEAP_SHARE)}`,
      ],
      `${ROOT}/models/child/main.ts`,
    ],
    ...{ env: {}, cwd: "/job" },
    readable: [node, `${ROOT}/models`, `${ROOT}/package.json`, ...modules],
    shown: within(Object.keys(files)),
    writable: within(MADE),
    ...{ fileBytesMax: limits.fileBytesMax, memoryMiB: limits.memoryMiB, timeoutMs: limits.timeoutMs },
    // As long as it may take, on as many processors as it uses.
    cpuSeconds: Math.ceil((limits.timeoutMs / 1000) * job.limits.threads) + 1,
    input: JSON.stringify(job),
    ...{ onLine, lineBytesMax: LINE_MAX, linesMax: LINES_MAX, signal },
  });
  signal.throwIfAborted();
  if (ended.how === "unconfined") throw new Fault("models.unconfined", { detail: ended.why.slice(0, 200) });
  return { ended, answer: answer as Answer | null, refusal: refusal as Rule[] | null };
}

function lineOf(text: string): Line | null {
  try {
    const value: unknown = JSON.parse(text);
    return Value.Check(Line, value) ? value : null;
  } catch {
    return null;
  }
}

function ruleOf(ended: Ended, { limits }: RunJob): Rule {
  const say = (Id: string, Message: string): Rule => ({ Id, Level: "error", Message });
  if (ended.how === "time")
    return say("limits.time", `Reading the model took longer than ${limits.timeoutMs} ms, so it was ended.`);
  if (ended.how === "memory")
    return say("limits.memory", `Reading the model took more than ${limits.memoryMiB} MiB, so it was ended.`);
  if (ended.how === "talk") return say("limits.answer", "What there was to say of the model was too long.");
  return say("limits.crashed", "The program that read the model crashed on it.");
}

async function write(path: string, source: AsyncIterable<Uint8Array>): Promise<void> {
  await using file = await open(path, "wx", 0o600);
  for await (const chunk of source) await file.writeFile(chunk);
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
