// SPDX-License-Identifier: Apache-2.0
/** Proofs that a name is ours, where a directory looks for them while its order is under way. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ChallengeWish } from "#contract/link/challenge.ts";
import type { Answer } from "./order.ts";

/** `proofs`: of an order, by token. */
export function answerByHttp(proofs: Map<string, string>, token: string, proof: string): Answer {
  proofs.set(token, proof);
  return { withdraw: () => proofs.delete(token) };
}

export interface AnswerByName {
  publish(wish: ChallengeWish): Promise<void>;
  wish: Omit<ChallengeWish, "want">;
  /** From a record's publication until every name server has it. */
  settleMs: number;
  signal: AbortSignal;
  track(work: Promise<void>): void;
}

/** Null: the name is in no zone of control's. */
export async function answerByName(ask: AnswerByName): Promise<Answer | null> {
  const { publish, wish, settleMs, signal, track } = ask;
  try {
    await publish({ ...wish, want: "published" });
  } catch (error) {
    if ((error as { code?: unknown }).code === "names.outside-zone") return null;
    throw error;
  }
  // Lost, it ends by control's clock.
  const withdraw = () => track(publish({ ...wish, want: "withdrawn" }).catch(() => {}));
  await sleep(settleMs, undefined, { signal }).catch((error: unknown) => {
    withdraw();
    throw error;
  });
  return { withdraw };
}
