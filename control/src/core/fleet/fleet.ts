// SPDX-License-Identifier: Apache-2.0
/**
 * The hosts connected to this process, and where the next machine goes.
 *
 * A host takes machines only after it was sent the whole of what is desired of it: otherwise a create
 * that commits while that list is on its way would be sent first, and then be ended because the list
 * does not name it.
 *
 * A host may go while it is being taken in. It is not one of ours then: it would be charged for and be given
 * machines as if it were there, and when it came again it would not be told what is desired of it.
 */
import { Fault } from "#contract/errors.ts";
import type { Desired, HostFacts, Isolation, StreamRequest } from "#contract/link/machine.ts";
import type { ControlLink, LinkStream } from "#link/port.ts";

export interface Fleet {
  /** Chooses a host for the isolation class, or throws fleet.no-capacity. */
  place(isolation: Isolation): string;
  /** Hosts connected here that can run the isolation class now. */
  able(isolation: Isolation): string[];
  /** What the hosts here lack for the isolation class, in their own words; null when one can run it, or says nothing. */
  missing(isolation: Isolation): string | null;
  /** Hosts that take nothing new, from now on until the next call. */
  setClosed(hostIds: readonly string[]): void;
  holds(hostId: string): boolean;
  /** Those connected here, for at least `forMs`. */
  held(forMs?: number): string[];
  facts(): HostFacts[];
  send(hostId: string, batch: Desired[]): void;
  /** Ends the connection with a host that is not to be one any more. */
  drop(hostId: string): void;
  /** Opens work on a live machine; throws when the host is not connected here. */
  open(hostId: string, request: StreamRequest): LinkStream;
  /** What is desired of a host that joins. One listener. */
  onJoin(desired: (hostId: string) => Promise<Desired[]>): void;
  /** `remember` is what has to be done first; when it throws, the host is not taken in. */
  joined(facts: HostFacts, remember?: () => Promise<void>): Promise<void>;
  gone(hostId: string): void;
}

export function openFleet(link: () => ControlLink): Fleet {
  const hosts = new Map<string, HostFacts>();
  const since = new Map<string, number>();
  let desiredOf: (hostId: string) => Promise<Desired[]> = async () => [];
  let closed: ReadonlySet<string> = new Set();
  const timesGone = new Map<string, number>();
  const able = (isolation: Isolation) =>
    [...hosts.values()]
      .filter(({ hostId }) => !closed.has(hostId))
      .filter((facts) => facts.drivers.some((driver) => driver.isolation === isolation && driver.ready))
      .map(({ hostId }) => hostId);
  return {
    place: (isolation) => {
      const hostIds = able(isolation);
      if (hostIds.length === 0) throw new Fault("fleet.no-capacity", { isolation });
      return hostIds[Math.floor(Math.random() * hostIds.length)]!;
    },
    able,
    missing: (isolation) => {
      if (able(isolation).length > 0) return null;
      const drivers = [...hosts.values()].flatMap((facts) => facts.drivers);
      return drivers.find((driver) => driver.isolation === isolation)?.missing ?? null;
    },
    setClosed: (hostIds) => {
      closed = new Set(hostIds);
    },
    holds: (hostId) => hosts.has(hostId),
    held: (forMs = 0) =>
      [...hosts.keys()].filter((hostId) => (since.get(hostId) ?? 0) <= performance.now() - forMs),
    facts: () => [...hosts.values()],
    send: (hostId, batch) => link().sendDesired(hostId, batch),
    drop: (hostId) => link().drop(hostId),
    open: (hostId, request) => {
      if (!hosts.has(hostId)) throw new Fault("host.away");
      return link().openStream(hostId, request);
    },
    onJoin: (desired) => {
      desiredOf = desired;
    },
    joined: async (facts, remember) => {
      const before = timesGone.get(facts.hostId);
      // Its next connection joins by itself.
      const went = () => timesGone.get(facts.hostId) !== before;
      await remember?.();
      if (went()) return;
      const known = hosts.has(facts.hostId);
      if (known) {
        hosts.set(facts.hostId, facts);
        return;
      }
      const desired = await desiredOf(facts.hostId);
      if (went()) return;
      link().sendDesired(facts.hostId, desired, true);
      hosts.set(facts.hostId, facts);
      since.set(facts.hostId, performance.now());
    },
    gone: (hostId) => {
      timesGone.set(hostId, (timesGone.get(hostId) ?? 0) + 1);
      hosts.delete(hostId);
    },
  };
}
