// SPDX-License-Identifier: Apache-2.0
/** Judges one document after the other, in a thread that may be ended at any moment (judge.ts). */
import { parentPort } from "node:worker_threads";
import { type ComposeAsk, type ComposeVerdict, checkCompose } from "./check.ts";

export type JudgeAnswer = { verdict: ComposeVerdict } | { fault: string };

parentPort!.on("message", (ask: ComposeAsk) => {
  let answer: JudgeAnswer;
  try {
    answer = { verdict: checkCompose(ask) };
  } catch (error) {
    // A stack of ours at the most: the policy says no values, and neither do its faults.
    answer = { fault: error instanceof Error ? (error.stack ?? error.message) : "not an error" };
  }
  parentPort!.postMessage(answer);
});
