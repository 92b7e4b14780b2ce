// SPDX-License-Identifier: Apache-2.0
/**
 * Connections to machines. Idle ones are kept per machine and target, never only per address: when an
 * address goes from one customer's machine to another's, a connection made for the first must not carry
 * a request meant for the second.
 */
import { Agent } from "node:http";
import { connect, type Socket } from "node:net";
import type { Limits } from "./limits.ts";
import type { IngressRoute, Target } from "./routes.ts";

const KEEP_ALIVE_PROBE_MS = 60_000;

export class Pools {
  readonly #limits: Pick<Limits, "poolMax" | "poolIdleMs">;
  readonly #agents = new Map<string, Agent>();

  constructor(limits: Pick<Limits, "poolMax" | "poolIdleMs">) {
    this.#limits = limits;
  }

  of(machineId: string, target: Target): Agent {
    const key = keyOf(machineId, target);
    const found = this.#agents.get(key);
    if (found !== undefined) return found;
    const { poolMax, poolIdleMs } = this.#limits;
    const agent = new Agent({
      keepAlive: true,
      maxFreeSockets: poolMax,
      timeout: poolIdleMs,
      scheduling: "lifo",
    });
    this.#agents.set(key, agent);
    return agent;
  }

  /** Lets go of what no route leads to. Requests under way keep their connection and end with it. */
  keepOnly(routes: Iterable<IngressRoute>): void {
    const wanted = new Set<string>();
    for (const { machineId, target } of routes) if (target !== null) wanted.add(keyOf(machineId, target));
    for (const [key, agent] of this.#agents) {
      if (wanted.has(key)) continue;
      this.#agents.delete(key);
      agent.maxFreeSockets = 0;
      for (const idle of Object.values(agent.freeSockets))
        for (const socket of [...(idle ?? [])]) socket.destroy();
    }
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }
}

/** A connection for one exchange. Half-open, so that a tunnel can end one way before the other. */
export function freshConnection({ host, port }: Target): Socket {
  return connect({
    host,
    port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
  });
}

const keyOf = (machineId: string, { host, port }: Target) => `${machineId} ${host} ${port}`;
