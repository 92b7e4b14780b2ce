// SPDX-License-Identifier: Apache-2.0
/**
 * Looks now and then whether the rules of machines that run are still the kernel's: whoever else keeps a firewall may empty
 * it. Until they are back such a machine reaches nothing and nobody (rules.ts, E), so this is about its work and not about the host's safety.
 */
import type { Taps } from "./taps.ts";

export interface RulesToKeep {
  taps: Pick<Taps, "ruled">;
  everyMs: number;
  /** Ids of machines that run with a network of their own. */
  machines(): Iterable<string>;
  /** Idempotent; the machine may have ended meanwhile. */
  restore(machineId: string): Promise<void>;
}

export interface KeptRules {
  close(): void;
}

export function keepRules({ taps, everyMs, machines, restore }: RulesToKeep): KeptRules {
  /** One that starts is restored when its start is through, and the others meanwhile. */
  const under = new Set<string>();
  let looking = false;
  const look = async () => {
    const mine = [...machines()].filter((id) => !under.has(id));
    if (mine.length === 0) return;
    const ruled = await taps.ruled();
    for (const id of mine) {
      if (ruled.has(id)) continue;
      under.add(id);
      void restore(id)
        // It is looked again.
        .catch(() => {})
        .finally(() => under.delete(id));
    }
  };
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    void look()
      .catch(() => {})
      .finally(() => {
        looking = false;
      });
  }, everyMs);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
