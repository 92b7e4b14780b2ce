// SPDX-License-Identifier: Apache-2.0
/**
 * The confined child: one job, one answer, and the end. It runs with no network, no folder and no second
 * process (`confine/alone.ts`); what it says is checked by whoever started it.
 */
import { readFileSync, writeSync } from "node:fs";
import type { Answer, Job, Line } from "../job.ts";
import { benchmark } from "./benchmark.ts";
import { convert, type Say } from "./convert.ts";
import { inspect } from "./inspect.ts";
import { Refusal } from "./refusal.ts";

function tell(line: Line): void {
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      // The reader is slower than we are, and standard output does not wait for it.
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

async function answer(job: Job, say: Say): Promise<Answer> {
  if (job.op === "convert") return convert(job, say);
  // It brings the decoder of pictures, which nobody else needs.
  if (job.op === "infer") return (await import("./infer.ts")).infer(job);
  if (job.op === "benchmark") return benchmark(job);
  const { report, chip } = await inspect(job.format, job.limits, job.repair);
  return { op: "inspect", report, chip };
}

const job = JSON.parse(readFileSync(0, "utf8")) as Job;
try {
  tell({ answer: await answer(job, (progress, log) => tell({ progress, log })) });
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  tell({ refusal: { rules: error.rules } });
}
// Sessions that were not released hold threads.
process.exit(0);
