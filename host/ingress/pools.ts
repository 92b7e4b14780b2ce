// SPDX-License-Identifier: Apache-2.0
/**
 * Connections to machines. Idle ones are kept per machine and target, never only per address: when an
 * address goes from one customer's machine to another's, a connection made for the first must not carry
 * a request meant for the second.
 */
import { MachineConnection } from "./connection.ts";
import type { Limits } from "./limits.ts";
import type { IngressRoute, Target } from "./routes.ts";

const READ_BYTES = 64 * 1024;

interface Idle {
  connection: MachineConnection;
  since: number;
}

export class Pools {
  readonly #limits: Pick<Limits, "poolMax" | "poolIdleMs" | "connectMs">;
  /** The one used last comes last, and is taken first. */
  readonly #idle = new Map<string, Idle[]>();
  #wanted: ReadonlySet<string> = new Set();
  readonly #memory = Buffer.alloc(READ_BYTES);
  readonly #sweep: NodeJS.Timeout;

  constructor(limits: Pick<Limits, "poolMax" | "poolIdleMs" | "connectMs">) {
    this.#limits = limits;
    this.#sweep = setInterval(() => this.#letGo(), Math.max(10, limits.poolIdleMs / 4)).unref();
  }

  /** One that stands, and was used before; undefined when there is none. */
  take(machineId: string, target: Target): MachineConnection | undefined {
    return this.#idle.get(keyOf(machineId, target))?.pop()?.connection;
  }

  open(target: Target): MachineConnection {
    return new MachineConnection(target, this.#limits.connectMs, this.#memory);
  }

  /** After a whole answer. Kept, if a route still leads there. */
  give(machineId: string, target: Target, connection: MachineConnection): void {
    const key = keyOf(machineId, target);
    const idle = this.#idle.get(key) ?? [];
    if (!this.#wanted.has(key) || idle.length >= this.#limits.poolMax) {
      connection.destroy();
      return;
    }
    idle.push({ connection, since: performance.now() });
    this.#idle.set(key, idle);
    connection.rest(() => {
      const kept = this.#idle.get(key);
      const at = kept?.findIndex((each) => each.connection === connection) ?? -1;
      if (at >= 0) kept!.splice(at, 1);
    });
  }

  /** Lets go of what no route leads to. Requests under way keep their connection and end with it. */
  keepOnly(routes: Iterable<IngressRoute>): void {
    const wanted = new Set<string>();
    for (const { machineId, target } of routes) if (target !== null) wanted.add(keyOf(machineId, target));
    this.#wanted = wanted;
    for (const [key, idle] of this.#idle) {
      if (wanted.has(key)) continue;
      this.#idle.delete(key);
      for (const { connection } of idle) connection.destroy();
    }
  }

  close(): void {
    clearInterval(this.#sweep);
    this.keepOnly([]);
  }

  #letGo(): void {
    const before = performance.now() - this.#limits.poolIdleMs;
    for (const [key, idle] of this.#idle) {
      while (idle.length > 0 && idle[0]!.since < before) idle.shift()!.connection.destroy();
      if (idle.length === 0) this.#idle.delete(key);
    }
  }
}

const keyOf = (machineId: string, { host, port }: Target) => `${machineId} ${host} ${port}`;
