// SPDX-License-Identifier: Apache-2.0
/**
 * Steps 7 and 8 of the proof, measured after everything else and before it is signed.
 *
 *  A. Step 7 reads the event log again as it lies on the disk, and holds it to the head that the proof
 *     names: whoever changed an entry, left one out or took the file away is found. A log that could
 *     not be written, or that a crash of the whole machine may have cut, was not read, and the step says so.
 *  B. Step 8 looks for what would let the machine come back: it is still on its driver's list, or a file
 *     of the host's store bears its name beside its own phases. Each of those holds the record with
 *     its wrapped key, or a part of it: somebody's copy, or an earlier process's. The record itself is step 4's.
 */
import type { StepTiming } from "#evidence/proofs/build.ts";
import type { Skipped } from "#evidence/proofs/document.ts";

export interface LastSteps {
  seal: StepTiming;
  completion: StepTiming;
}

export interface LastLooks {
  /** The log on the disk is the chain that the proof names; null when that cannot be told (A). */
  eventsHold(): boolean | null;
  /** Names of files that would let the machine come back, and whether its driver lists it (B). */
  strays(): string[];
  listed(): boolean;
}

export function measureLast({ eventsHold, strays, listed }: LastLooks): LastSteps {
  const seal = measured(() => {
    const hold = eventsHold();
    if (hold === null)
      return { ok: true, skipped: [said("could not be read back; the chain was kept in memory")] };
    return hold
      ? { ok: true, skipped: [] }
      : { ok: false, skipped: [said("is not the chain that was written")] };
  });
  const completion = measured(() => {
    const files = strays().length;
    const skipped: Skipped[] = [];
    if (files > 0)
      skipped.push({ name: "machine_files", reason: `${files} beside its record bear its name` });
    if (listed()) skipped.push({ name: "machine", reason: "its driver still lists it" });
    return { ok: skipped.length === 0, skipped };
  });
  return { seal, completion };
}

const said = (reason: string): Skipped => ({ name: "event_log_file", reason });

function measured(look: () => Pick<StepTiming, "ok" | "skipped">): StepTiming {
  const startedAt = new Date();
  const from = performance.now();
  let found: Pick<StepTiming, "ok" | "skipped">;
  try {
    found = look();
  } catch {
    found = { ok: false, skipped: [{ name: "probe", reason: "it could not look" }] };
  }
  return { ...found, startedAt, endedAt: new Date(), durationMs: Math.round(performance.now() - from) };
}
