// SPDX-License-Identifier: Apache-2.0
/** A command's code and what it printed, of commands that are handed where to print. */
export interface Printer {
  out(text: string): void;
  err(text: string): void;
}

export async function printedBy(
  run: (printer: Printer) => number | Promise<number>,
): Promise<{ code: number; out: string; err: string }> {
  const printed = { out: "", err: "" };
  const code = await run({
    out: (text) => {
      printed.out += text;
    },
    err: (text) => {
      printed.err += text;
    },
  });
  return { code, ...printed };
}
