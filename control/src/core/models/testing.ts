// SPDX-License-Identifier: Apache-2.0
/** Jobs over bytes, for tests: real children behind their real walls. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram } from "#confine/spawn.ts";
import type { Answer, Format, Job, Limits, Repair, TargetName } from "#models/job.ts";
import type { Requirement } from "#testing/requirements.ts";
import { type ChildLimits, clearWork, type JobDone, runJob } from "./run-job.ts";

export const LIMITS: Limits = {
  ...{ opsetMax: 17, irVersionMax: 9, elementsMax: 64 * 1024 * 1024, nodesMax: 100_000, threads: 2 },
};
const CHILD: ChildLimits = { memoryMiB: 1024, timeoutMs: 60_000, fileBytesMax: 256 * 1024 * 1024 };

const trial = [
  ...["--unshare-user", "--unshare-pid", "--unshare-net"],
  ...["--ro-bind", "/", "/", "--", "true"],
];
export const userNamespaces: Requirement = {
  met: findProgram("prlimit") !== null && spawnSync("bwrap", trial).status === 0,
  reason: "needs bubblewrap with user namespaces, and prlimit",
};

export interface Runner extends AsyncDisposable {
  run(job: Job, bytes: Uint8Array, more?: MoreOfRun): Promise<JobDone<{ answer: Answer; out: Buffer }>>;
  inspect(bytes: Uint8Array, format?: Format, repair?: Repair | null): Promise<JobDone<Answer>>;
  /** What lies in the folder of jobs. */
  left(): string[];
}

interface MoreOfRun {
  limits?: Partial<ChildLimits>;
  other?: Uint8Array;
  signal?: AbortSignal;
  onProgress?: (progress: number, log: string) => void;
}

async function* once(bytes: Uint8Array) {
  yield bytes;
}

export function openRunner(): Runner {
  const folder = mkdtempSync(join(tmpdir(), "casemate-models-"));
  const run: Runner["run"] = (job, bytes, { limits = {}, other, signal, onProgress = () => {} } = {}) =>
    runJob(
      {
        ...{ folder, job, onProgress },
        limits: { ...CHILD, ...limits },
        files: { input: once(bytes), ...(other === undefined ? {} : { other: once(other) }) },
        signal: signal ?? new AbortController().signal,
      },
      async (answer, out) => ({ answer, out: readFileSync(out) }),
    );
  return {
    run,
    inspect: async (bytes, format = "onnx", repair = null) => {
      const done = await run({ op: "inspect", format, limits: LIMITS, repair }, bytes);
      return done.ok ? { ok: true, value: done.value.answer } : done;
    },
    left: () => readdirSync(folder),
    [Symbol.asyncDispose]: () => clearWork(folder),
  };
}

export const conversion = (target: TargetName, repair: Repair | null = null): Job => ({
  ...{ op: "convert", format: "onnx", limits: LIMITS, repair, target, level: "extended", seed: 11 },
});
