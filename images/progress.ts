// SPDX-License-Identifier: Apache-2.0
/** How far a build is: a bar that is drawn over itself on a terminal, lines of text where it is kept. */

export interface Step {
  /** From 1. */
  number: number;
  of: number;
  words: string;
  /** How much of this step is done, 0 to 1; null when it cannot be known. */
  part: number | null;
}

export type OnStep = (step: Step) => void;

const BAR_CELLS = 24;
/** Between two lines of one step where there is no terminal. */
const LINE_PART = 0.25;

export function showProgress(out: { isTTY?: boolean; columns?: number; write(text: string): unknown }): {
  onStep: OnStep;
  end(): void;
} {
  let shown: Step | null = null;
  const line = ({ number, of, words }: Step) => `[${number}/${of}] ${words}`;
  if (out.isTTY !== true)
    return {
      onStep: (step) => {
        const before = shown?.number === step.number ? (shown.part ?? 0) : null;
        if (before !== null && (step.part ?? 0) < Math.min(1, before + LINE_PART)) return;
        if (before !== null && before >= 1) return;
        shown = step;
        out.write(`${line(step)}${step.part === null || step.part === 0 ? "" : ` ${percent(step.part)}`}\n`);
      },
      end: () => {},
    };
  return {
    onStep: (step) => {
      shown = step;
      const full = Math.round(((step.number - 1 + (step.part ?? 0)) / step.of) * BAR_CELLS);
      const text = `${"#".repeat(full)}${".".repeat(BAR_CELLS - full)} ${line(step)}`;
      out.write(`\r\x1b[K${text.slice(0, Math.max(20, (out.columns ?? 80) - 1))}`);
    },
    end: () => {
      if (shown !== null) out.write("\r\x1b[K");
    },
  };
}

const percent = (part: number) => `${Math.round(100 * part)} %`;
