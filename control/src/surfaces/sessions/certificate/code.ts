// SPDX-License-Identifier: Apache-2.0
/** An address as a QR code: the dark squares of each row, as runs. */
import qrcode from "qrcode-generator";

export interface Code {
  /** Squares on a side, with the quiet zone that readers need around them. */
  size: number;
  runs: { x: number; y: number; width: number }[];
}

const QUIET = 4;

export function codeOf(text: string): Code {
  const code = qrcode(0, "M");
  code.addData(text);
  code.make();
  const modules = code.getModuleCount();
  const runs: Code["runs"] = [];
  for (let row = 0; row < modules; row++)
    for (let column = 0; column < modules; column++) {
      if (!code.isDark(row, column)) continue;
      const from = column;
      while (column + 1 < modules && code.isDark(row, column + 1)) column++;
      runs.push({ x: from + QUIET, y: row + QUIET, width: column + 1 - from });
    }
  return { size: modules + 2 * QUIET, runs };
}
