// SPDX-License-Identifier: Apache-2.0
/** What both offline verifiers do with a command line that cannot be meant: say why, and how it is used. */
import { type ParseArgsConfig, parseArgs } from "node:util";

/** As `main.ts` has it for every command. */
const USAGE_EXIT = 2;

export class UsageFault extends Error {}

/** Options and words of a command line; an option that there is not is a usage fault. */
export function optionsOf<const Options extends NonNullable<ParseArgsConfig["options"]>>(
  args: string[],
  options: Options,
) {
  try {
    return parseArgs({ args, allowPositionals: true, options });
  } catch (cause) {
    throw new UsageFault((cause as Error).message, { cause });
  }
}

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
