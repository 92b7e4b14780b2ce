// SPDX-License-Identifier: Apache-2.0
/**
 * How long to wait before trying again: doubling from `firstMs` to `mostMs`, each wait drawn evenly
 * from its upper half, so that hosts that lost the same control do not return as one crowd.
 */
export interface Backoff {
  firstMs: number;
  mostMs: number;
}

export function waitMs(backoff: Backoff, failures: number, random: () => number = Math.random): number {
  const ceiling = Math.min(backoff.mostMs, backoff.firstMs * 2 ** Math.min(failures, 30));
  return Math.ceil(ceiling * (0.5 + random() / 2));
}
