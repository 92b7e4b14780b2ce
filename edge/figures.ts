// SPDX-License-Identifier: Apache-2.0
/**
 * What is counted of each device and pipeline between two samples. Bounded: of devices and pipelines there
 * are as many as a wish names, and of times as many as are kept for each.
 */
import type { Found } from "./pipelines.ts";
import type { WishedDevice } from "./wish.ts";

/** Of one device or pipeline: beyond that the oldest are written over. */
const TIMES_MAX = 1024;
/** A runner may say anything; nothing takes that long. */
const MS_MAX = 1e6;
/** The most that a sample may say of anything. */
const COUNT_MAX = 1e9;

/** What one look at a picture came to. */
export interface Looked {
  found: Found[];
  /** Of each pipeline, in the order of `found`. */
  eachMs: number[];
  tookMs: number;
}

export interface DeviceFigures {
  UUID: string;
  Frames: number;
  Errors: number;
  Dropped: number;
  QueueDepth: number;
  LatencyP50?: number;
  LatencyP95?: number;
  Pipelines: {
    UUID: string;
    Frames: number;
    Detections: number;
    Inferences: number;
    LatencyP50?: number;
    LatencyP95?: number;
  }[];
}

class Times {
  count = 0;
  readonly #kept: number[] = [];

  add(ms: number): void {
    this.#kept[this.count++ % TIMES_MAX] = Math.min(Math.max(ms, 0), MS_MAX);
  }

  shown() {
    if (this.#kept.length === 0) return {};
    const sorted = this.#kept.toSorted((a, b) => a - b);
    const at = (share: number) => {
      const value = sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
      return Math.round(value * 100) / 100;
    };
    return { LatencyP50: at(0.5), LatencyP95: at(0.95) };
  }
}

interface Counted {
  errors: number;
  dropped: number;
  waiting: number;
  times: Times;
  pipelines: Map<string, { detections: number; inferences: number; times: Times }>;
}

export class Figures {
  #devices = new Map<string, Counted>();

  #of({ UUID }: Pick<WishedDevice, "UUID">): Counted {
    const begun = this.#devices.get(UUID) ?? {
      ...{ errors: 0, dropped: 0, waiting: 0, times: new Times(), pipelines: new Map() },
    };
    this.#devices.set(UUID, begun);
    return begun;
  }

  /** A picture of the device was given up unseen. */
  drop(device: Pick<WishedDevice, "UUID">): void {
    this.#of(device).dropped++;
  }

  /** So many more of the device's pictures wait. */
  wait(device: Pick<WishedDevice, "UUID">, pictures: number): void {
    const counted = this.#of(device);
    counted.waiting = Math.max(counted.waiting, pictures);
  }

  /** Null: the picture could not be looked at. */
  note({ UUID, Pipelines }: Pick<WishedDevice, "UUID" | "Pipelines">, looked: Looked | null): void {
    const counted = this.#of({ UUID });
    if (looked === null) {
      counted.errors++;
      return;
    }
    counted.times.add(looked.tookMs);
    // By what was asked, not by what a runner calls it.
    for (const [at, { UUID: asked }] of Pipelines.entries()) {
      const found = looked.found[at];
      if (found === undefined) break;
      const pipeline = counted.pipelines.get(asked) ?? { detections: 0, inferences: 0, times: new Times() };
      counted.pipelines.set(asked, pipeline);
      pipeline.detections = Math.min(COUNT_MAX, pipeline.detections + detectionsOf(found));
      pipeline.inferences = Math.min(COUNT_MAX, pipeline.inferences + inferencesOf(found));
      pipeline.times.add(looked.eachMs[at] ?? 0);
    }
  }

  /** What was counted since the last time; the counting begins anew. */
  take(): DeviceFigures[] {
    const devices = [...this.#devices].map(([UUID, { errors, dropped, waiting, times, pipelines }]) => ({
      ...{ UUID, Frames: times.count + errors, Errors: errors, Dropped: dropped, QueueDepth: waiting },
      ...times.shown(),
      Pipelines: [...pipelines].map(([pipeline, counted]) => ({
        ...{ UUID: pipeline, Frames: counted.times.count, Detections: counted.detections },
        ...{ Inferences: counted.inferences, ...counted.times.shown() },
      })),
    }));
    this.#devices = new Map();
    return devices;
  }
}

const detectionsOf = ({ Detections, Chains }: Found): number =>
  Chains.reduce((sum, chain) => sum + detectionsOf(chain), Detections.length);

/** What was found says which models ran: each of a pipeline's steps that ran is in it, and no other. */
const inferencesOf = ({ Chains }: Found): number =>
  Chains.reduce((sum, chain) => sum + inferencesOf(chain), 1);
