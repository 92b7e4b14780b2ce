// SPDX-License-Identifier: Apache-2.0
/**
 * What the offline verifiers have in common as commands: where they print, what they answer, and what they do with a command line that
 * cannot be meant: say why, and how it is used.
 */
import { type ParseArgsConfig, parseArgs } from "node:util";

export interface Printing {
  out(text: string): void;
  err(text: string): void;
}

/** Of one that judges whether something is still valid. */
export interface Verifying extends Printing {
  nowMs(): number;
}

/** Exit codes of verifiers; 2 is every command's for usage. */
export const EXIT = { accepted: 0, refused: 1, usage: 2 } as const;

/** This process's own. */
export const OWN_IO: Verifying = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  nowMs: Date.now,
};

export class UsageFault extends Error {}

/** Options and words of a command line; an option that there is not is a usage fault. */
function optionsOf<const Known extends Options>(args: string[], options: Known) {
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
    return EXIT.usage;
  }
}

type Options = NonNullable<ParseArgsConfig["options"]>;
/** What a command line has of these options, and its other words. */
export type Given<Known extends Options> = ReturnType<typeof optionsOf<Known>>;

const HELP = { help: { type: "boolean", short: "h" } } as const;

/** A command of these options and of `--help`; a usage fault in it is told with the usage. Resolves to the exit code. */
export function commandOf<const Known extends Options, Io extends Printing>(
  usage: string,
  options: Known,
  run: (given: Given<Known>, io: Io) => Promise<number>,
): (argv: string[], io: Io) => Promise<number> {
  return (argv, io) =>
    orUsage(usage, io.err, async () => {
      const given = optionsOf(argv, { ...options, ...HELP });
      if (!("help" in given.values)) return run(given as Given<Known>, io);
      io.out(usage);
      return EXIT.accepted;
    });
}
