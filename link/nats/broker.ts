// SPDX-License-Identifier: Apache-2.0
/**
 * Being connected to the broker, for ever. The client library could reconnect by itself and would keep
 * subscriptions and unsent bytes over the gap; we do not let it, because what was in flight is lost
 * anyway and a stream that went on with a hole in it would look whole.
 *
 * Invariants:
 *  A. Each broker connection is new in everything: `onUp` is called for each, and its answer once, when
 *     that connection is gone.
 *  B. A broker that refuses us is asked again at the slowest pace: the operator may let us in again.
 *  C. After `close` nothing is dialled and nothing is called.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import { type Backoff, waitMs } from "../backoff.ts";
import { LinkFault } from "../message.ts";
import { isRefusal } from "./access.ts";

/** Waited for the last messages to leave; a broker that is away does not hold up our end. */
const LAST_WORDS_MS = 500;
const SLOWEST = 30;

export interface BrokerOptions {
  enter: () => Promise<NatsConnection>;
  backoff: Backoff;
  /** The answer is told that this connection is gone (A). */
  onUp: (broker: NatsConnection) => (reason: Error) => void;
  onFault: (error: unknown) => void;
}

export interface Broker {
  close(): Promise<void>;
}

/** With `first`, a connection that is already there is the first one used. */
export function stayConnected(options: BrokerOptions, first?: NatsConnection): Broker {
  const { backoff, onFault } = options;
  const stop = new AbortController();
  let current: NatsConnection | undefined;

  const live = async (broker: NatsConnection) => {
    current = broker;
    void tellFaults(broker, onFault);
    const onDown = options.onUp(broker);
    const reason = await broker.closed();
    current = undefined;
    onDown(reason instanceof Error ? reason : new LinkFault("link.dropped", "the broker went away"));
  };

  const run = async () => {
    let failures = 0;
    for (let next = first; !stop.signal.aborted; next = undefined) {
      const since = performance.now();
      try {
        const broker = next ?? (await options.enter());
        if (stop.signal.aborted) return await broker.close();
        await live(broker);
        if (performance.now() - since > backoff.mostMs) failures = 0;
      } catch (error) {
        if (isRefusal(error)) failures = SLOWEST;
        onFault(error);
      }
      await sleep(waitMs(backoff, failures++), undefined, { signal: stop.signal }).catch(() => {});
    }
  };
  const running = run();

  return {
    async close() {
      stop.abort();
      if (current) {
        await Promise.race([
          current.flush().catch(() => {}),
          sleep(LAST_WORDS_MS, undefined, { ref: false }),
        ]);
        await current?.close();
      }
      await running;
    },
  };
}

async function tellFaults(broker: NatsConnection, onFault: (error: unknown) => void): Promise<void> {
  for await (const status of broker.status()) if (status.type === "error") onFault(status.error);
}
