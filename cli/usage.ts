// SPDX-License-Identifier: Apache-2.0
/** What both offline verifiers do with a command line that cannot be meant: say why, and how it is used. */

/** As `main.ts` has it for every command. */
const USAGE_EXIT = 2;

export class UsageFault extends Error {}

/** Runs a command; a usage fault in it is told with the usage. Resolves to the exit code. */
export async function orUsage(
  usage: string,
  err: (text: string) => void,
  run: () => Promise<number>,
): Promise<number> {
  try {
    return await run();
  } catch (fault) {
    if (!(fault instanceof UsageFault)) throw fault;
    err(`${fault.message}\n\n${usage}`);
    return USAGE_EXIT;
  }
}
