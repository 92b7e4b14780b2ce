// SPDX-License-Identifier: Apache-2.0
/**
 * The host's end of the link over NATS. It says that it is here, at once and every heartbeat, and
 * answers each replica that calls; it dials nobody, because it knows of no replica before.
 *
 * Invariants:
 *  A. One talk per replica. A call from a replica that we already talk with means that it lost us or
 *     started again: the old talk ends, with its streams `lost` and its reports rejected.
 *  B. A report goes to one replica. Which one changes only while none is under way, so reports stay in
 *     order; it does change, so that a replica that cannot commit does not hold a host up, and the
 *     work of many hosts spreads.
 *  C. A call that does not carry the token of this broker connection was for another, and is ignored.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import type { HostFacts } from "#contract/link/machine.ts";
import { type Backoff, waitMs } from "../backoff.ts";
import { LinkFault } from "../message.ts";
import type { HostHandlers, HostLink } from "../port.ts";
import { enter, type NatsAccess } from "./access.ts";
import { stayConnected } from "./broker.ts";
import { Pipe } from "./pipe.ts";
import { downOf, newToken, parseCall, requireHostId, splitSubject, upOf } from "./subjects.ts";
import { Talk } from "./talk.ts";

const HEARTBEAT_MS = 5_000;
/** Replicas at once; control is one party, so more is a fault somewhere and not growth. */
const REPLICAS_MAX = 64;

export interface DialNatsOptions extends NatsAccess {
  /** Its `hostId` must be the one that the credentials were made for. */
  facts: HostFacts;
  handlers: HostHandlers;
  heartbeatMs?: number;
  backoff?: Backoff;
  onFault?: (error: Error) => void;
}

export function dialNats(options: DialNatsOptions): HostLink {
  const { handlers, heartbeatMs = HEARTBEAT_MS, backoff = { firstMs: 50, mostMs: 5_000 } } = options;
  const hostId = requireHostId(options.facts.hostId);
  const fault = (error: unknown) =>
    options.onFault?.(error instanceof Error ? error : new Error(String(error)));
  let facts = structuredClone(options.facts);
  const joined: Talk[] = [];
  const talks = new Set<Talk>();
  const batches = { taken: 0 };
  let failures = 0;
  let reporting: Talk | undefined;
  let underWay = 0;

  const talkOver = (pipe: Pipe, replica: string, again: (waitMs: number) => void) => {
    const since = performance.now();
    const talk: Talk = new Talk({
      ...{ pipe, replica, handlers, heartbeatMs, batches },
      facts: () => facts,
      onJoined: () => joined.push(talk),
      onClosed(reason) {
        talks.delete(talk);
        if (joined.includes(talk)) joined.splice(joined.indexOf(talk), 1);
        fault(reason);
        if (performance.now() - since > backoff.mostMs) failures = 0;
        again(waitMs(backoff, failures++));
      },
    });
    talks.add(talk);
  };

  const onUp = (broker: NatsConnection) => {
    const token = newToken();
    const pipes = new Map<string, Pipe>();
    let beat: NodeJS.Timeout | undefined;
    const hereIn = (ms: number) => {
      clearTimeout(beat);
      if (broker.isClosed()) return;
      beat = setTimeout(here, ms);
    };
    // Until somebody calls, more often: after the broker was away, control may come back later than we.
    let unheard = 0;
    const here = () => {
      hereIn(joined.length > 0 ? heartbeatMs : Math.min(heartbeatMs, waitMs(backoff, unheard++)));
      if (!broker.isClosed()) broker.publish(`${upOf(hostId)}.here`, token);
    };
    const called = (message: Uint8Array) => {
      const call = parseCall(message);
      if (call?.host !== token) return;
      for (const talk of talks)
        if (talk.replica === call.replica)
          talk.close(new LinkFault("link.replaced", "the replica called again"));
      if (talks.size >= REPLICAS_MAX) throw new LinkFault("link.too-many-replicas", "too many replicas call");
      const pipe = new Pipe(
        (bytes) => broker.publish(`${upOf(hostId)}.${call.pipe}`, bytes),
        broker.info?.max_payload ?? Number.POSITIVE_INFINITY,
      );
      pipes.set(call.pipe, pipe);
      pipe.once("close", () => pipes.delete(call.pipe));
      talkOver(pipe, call.replica, hereIn);
    };
    broker.subscribe(`${downOf(hostId)}.>`, {
      callback(error, { subject, data }) {
        // Thrown into the client library, an error would end its reading without a word.
        try {
          if (error) throw error;
          const { rest } = splitSubject(subject);
          if (rest === "call") called(data);
          else pipes.get(rest)?.arrived(data);
        } catch (thrown) {
          fault(thrown);
        }
      },
    });
    here();
    return (reason: Error) => {
      clearTimeout(beat);
      for (const pipe of [...pipes.values()]) pipe.destroy(reason);
    };
  };

  const broker = stayConnected({
    enter: () => enter(options, `casemate host ${hostId}`, heartbeatMs),
    ...{ backoff, onUp, onFault: fault },
  });

  return {
    async report(observations) {
      if (underWay === 0 || !reporting || !joined.includes(reporting)) {
        reporting = joined.shift();
        if (!reporting) throw new LinkFault("link.away", "control is not connected");
        joined.push(reporting);
      }
      underWay += 1;
      try {
        await reporting.report(observations);
      } finally {
        underWay -= 1;
      }
    },
    publish: async (wish) => anyOf(joined).publish(wish),
    findResidues: async (question) => anyOf(joined).findResidues(question),
    announce(changed) {
      if (changed.hostId !== hostId) throw new LinkFault("link.host-id", "a host may not change its id");
      facts = structuredClone(changed);
      for (const talk of joined) talk.announce(facts);
    },
    async close() {
      for (const talk of [...talks]) talk.close(new LinkFault("link.closed", "the host closed the link"));
      await broker.close();
    },
  };
}

function anyOf([talk]: readonly Talk[]): Talk {
  if (!talk) throw new LinkFault("link.away", "control is not connected");
  return talk;
}
