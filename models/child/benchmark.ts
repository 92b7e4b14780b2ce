// SPDX-License-Identifier: Apache-2.0
/** How fast a model runs here, one inference after another, on one seeded input. */
import { INSIDE } from "../inside.ts";
import type { Answer, Job } from "../job.ts";
import { refuse } from "./refusal.ts";
import { load, run, seededInputs } from "./run.ts";

type Benchmark = Extract<Job, { op: "benchmark" }>;

const WARM = 2;

export async function benchmark({
  limits,
  runs,
  seed,
}: Benchmark): Promise<Extract<Answer, { op: "benchmark" }>> {
  const begun = performance.now();
  const session = await load(INSIDE.input, limits, { graphOptimizationLevel: "all" });
  const LoadMs = performance.now() - begun;
  const feeds = seededInputs(session, seed);
  if (feeds === null) return refuse("benchmark.inputs", "No inputs could be made for the model.");
  const times: number[] = [];
  for (let n = 0; n < WARM + runs; n++) {
    const at = performance.now();
    await run(session, feeds);
    if (n >= WARM) times.push(performance.now() - at);
  }
  times.sort((one, other) => one - other);
  const share = (part: number) => times[Math.min(times.length - 1, Math.floor(part * times.length))]!;
  const PeakRSS = process.resourceUsage().maxRSS * 1024;
  return {
    op: "benchmark",
    P50: share(0.5),
    P95: share(0.95),
    P99: share(0.99),
    LoadMs,
    PeakRSS,
    Samples: runs,
  };
}
