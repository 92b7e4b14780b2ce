// SPDX-License-Identifier: Apache-2.0
/** What failed beside everything else, tried by itself (docs/decisions/0061). */

export interface Tally {
  passed: number;
  failed: number;
  skipped: string[];
  /**
   * Of each file with a failure, from the project's root: its tests that failed. Null when something failed that is no test: a file
   * that did not load, or the runner itself.
   */
  failures: ReadonlyMap<string, readonly string[]> | null;
}

/** More files than these at once are no chance. */
const AGAIN_MAX = 3;

/** Adds to `again` what passed only now. A file counts as it did the first time unless all of it passes. */
export async function runAgain(
  first: Tally,
  run: (file: string) => Promise<Tally>,
  again: string[],
): Promise<Tally> {
  if (first.failures === null || first.failures.size > AGAIN_MAX) return first;
  const total = { ...first };
  for (const [file, names] of first.failures) {
    console.log(`\nonce more, alone: ${file}`);
    const { failed, passed } = await run(file);
    if (failed > 0 || passed === 0) continue;
    total.failed -= names.length;
    total.passed += names.length;
    again.push(...names.map((name) => `${file} > ${name}`));
  }
  return total;
}
