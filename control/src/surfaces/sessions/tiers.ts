// SPDX-License-Identifier: Apache-2.0
/** What each tier may use. Source: the seed's table of limits; memory and CDP quota from the contract. */
import type { Tier } from "#contract/sessions/vocabulary.ts";

export interface TierLimits {
  /** Requests per minute and key; null is unlimited. */
  rpm: number | null;
  concurrentSessions: number | null;
  /** Longest and default time to live; null is unlimited. */
  ttlSeconds: number | null;
  cdpsPerCycle: number | null;
  memoryMiB: number;
  cpuMillis: number;
  pidsMax: number;
}

export type Tiers = Record<Tier, TierLimits>;

export const DEFAULT_TIERS: Tiers = {
  free: {
    rpm: 60,
    concurrentSessions: 3,
    ttlSeconds: 300,
    cdpsPerCycle: 100,
    memoryMiB: 256,
    cpuMillis: 1000,
    pidsMax: 128,
  },
  starter: {
    rpm: 120,
    concurrentSessions: 20,
    ttlSeconds: 600,
    cdpsPerCycle: null,
    memoryMiB: 1024,
    cpuMillis: 1000,
    pidsMax: 256,
  },
  business: {
    rpm: 300,
    concurrentSessions: 100,
    ttlSeconds: 1800,
    cdpsPerCycle: null,
    memoryMiB: 4096,
    cpuMillis: 2000,
    pidsMax: 512,
  },
  enterprise: {
    rpm: null,
    concurrentSessions: null,
    ttlSeconds: null,
    cdpsPerCycle: null,
    memoryMiB: 4096,
    cpuMillis: 2000,
    pidsMax: 1024,
  },
};

export const tierOf = (tiers: Tiers, tier: string): TierLimits => tiers[tier as Tier] ?? tiers.free;
