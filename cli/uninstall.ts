// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate uninstall`: exit 0 when nothing is left, 1 when something is or nothing was done, 2 for wrong
 * usage. Without a terminal to ask on it wants `--yes`.
 */
import { createInterface } from "node:readline/promises";
import { uninstall } from "#embedded/uninstall.ts";

export interface UninstallCommand {
  state: string;
  yes?: boolean;
  keepData?: boolean;
  dropTables?: boolean;
}

export async function uninstallCommand(options: UninstallCommand): Promise<number> {
  const { state, yes = false, keepData = false, dropTables = false } = options;
  if (keepData && dropTables) {
    process.stderr.write("casemate uninstall: --keep-data and --drop-tables exclude each other\n");
    return 2;
  }
  if (!yes && !process.stdin.isTTY) {
    process.stderr.write("casemate uninstall: there is no terminal to ask on; --yes goes ahead\n");
    return 2;
  }
  const done = await uninstall({
    ...{ state, keepData, dropTables },
    print: (line) => process.stdout.write(`${line}\n`),
    confirm: async () => yes || (await ask(keepData)),
  });
  return done ? 0 : 1;
}

async function ask(keepData: boolean): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const loss = keepData ? "" : " Every key, proof and row goes with it, and no one can bring them back.";
    return (await terminal.question(`Remove all of this?${loss} Type yes: `)).trim() === "yes";
  } finally {
    terminal.close();
  }
}
