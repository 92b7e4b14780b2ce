// SPDX-License-Identifier: Apache-2.0
/**
 * What was last said of machines that are no more, so that a late or repeated batch cannot start one
 * again: a destroyed session must stay destroyed. Bounded, newest kept; after a restart it is empty,
 * and then the first batch is complete and made by a control that has committed the ends.
 *
 * Whole observations (with proof and salt) are kept for the few newest: control may have dropped a
 * report as belonging to an older generation than the one it had just sent, and asks again.
 */
import type { Observation } from "#contract/link/machine.ts";

const KEPT_MAX = 16_384;
const WHOLE_MAX = 64;

export class Finals {
  readonly #kept = new Map<string, Observation>();
  readonly #whole = new Map<string, Observation>();

  add(observation: Observation): void {
    const { machineId } = observation;
    const { ended, ...rest } = observation;
    put(this.#kept, machineId, rest, KEPT_MAX);
    if (ended) put(this.#whole, machineId, observation, WHOLE_MAX);
  }

  /** What to answer to `generation` of this machine; undefined when it was never here. */
  find(machineId: string, generation: number): Observation | undefined {
    const whole = this.#whole.get(machineId);
    if (whole) return { ...whole, generation };
    const kept = this.#kept.get(machineId);
    if (!kept) return undefined;
    if (kept.state !== "ended") return { ...kept, generation };
    return {
      machineId,
      generation,
      state: "failed",
      code: "machine.not-running",
      detail: "the machine has ended and its proof was acknowledged",
    };
  }

  /** The generation last answered to. */
  generation(machineId: string): number | undefined {
    return this.#kept.get(machineId)?.generation;
  }

  state(machineId: string): Observation["state"] | undefined {
    return this.#kept.get(machineId)?.state;
  }
}

function put(map: Map<string, Observation>, id: string, observation: Observation, most: number): void {
  map.delete(id);
  map.set(id, observation);
  if (map.size > most) map.delete(map.keys().next().value!);
}
