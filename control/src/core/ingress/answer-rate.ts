// SPDX-License-Identifier: Apache-2.0
/**
 * How many answers a network gets over UDP. The attacker sends questions under a victim's address; the
 * victim is what the address says, so the victim's network is what is counted, a bucket for each. Of
 * the answers above the rate every second one is a short "come over TCP" and the others are not sent:
 * a real resolver behind a flooded address still gets through, and the victim gets less than was spent.
 *
 * The number of buckets is bounded. Who sends under ever new addresses pushes out the oldest bucket,
 * whose network then has a full one: that costs a packet per network, which is no amplification.
 */
import { prefixOf } from "./addresses.ts";

export type Verdict = "answer" | "truncate" | "drop";

export interface AnswerRateLimits {
  perSecond: number;
  burst: number;
  networksMax: number;
}

export class AnswerRate {
  readonly #limits: AnswerRateLimits;
  readonly #buckets = new Map<string, { left: number; atMs: number; over: number }>();

  constructor(limits: AnswerRateLimits) {
    this.#limits = limits;
  }

  /** `nowMs` of a clock that does not go back. */
  take(address: string, nowMs: number): Verdict {
    const { perSecond, burst, networksMax } = this.#limits;
    const network = prefixOf(address);
    const bucket = this.#buckets.get(network) ?? { left: burst, atMs: nowMs, over: 0 };
    this.#buckets.delete(network);
    if (this.#buckets.size >= networksMax) this.#buckets.delete(this.#buckets.keys().next().value!);
    this.#buckets.set(network, bucket);
    bucket.left = Math.min(burst, bucket.left + ((nowMs - bucket.atMs) / 1000) * perSecond);
    bucket.atMs = nowMs;
    if (bucket.left >= 1) {
      bucket.left -= 1;
      return "answer";
    }
    bucket.over += 1;
    return bucket.over % 2 === 1 ? "truncate" : "drop";
  }
}
