// SPDX-License-Identifier: Apache-2.0
/**
 * The hosts connected to this process, and where the next machine goes.
 *
 * A host takes machines only after it was sent the whole of what is desired of it: otherwise a create
 * that commits while that list is on its way would be sent first, and then be ended because the list
 * does not name it.
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
  holds(hostId: string): boolean;
  held(): string[];
  facts(): HostFacts[];
  send(hostId: string, batch: Desired[]): void;
  /** Opens work on a live machine; throws when the host is not connected here. */
  open(hostId: string, request: StreamRequest): LinkStream;
  /** What is desired of a host that joins. One listener. */
  onJoin(desired: (hostId: string) => Promise<Desired[]>): void;
  joined(facts: HostFacts): Promise<void>;
  gone(hostId: string): void;
}

export function openFleet(link: () => ControlLink): Fleet {
  const hosts = new Map<string, HostFacts>();
  let desiredOf: (hostId: string) => Promise<Desired[]> = async () => [];
  const able = (isolation: Isolation) =>
    [...hosts.values()]
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
    holds: (hostId) => hosts.has(hostId),
    held: () => [...hosts.keys()],
    facts: () => [...hosts.values()],
    send: (hostId, batch) => link().sendDesired(hostId, batch),
    open: (hostId, request) => {
      if (!hosts.has(hostId)) throw new Fault("host.away");
      return link().openStream(hostId, request);
    },
    onJoin: (desired) => {
      desiredOf = desired;
    },
    joined: async (facts) => {
      const known = hosts.has(facts.hostId);
      if (known) {
        hosts.set(facts.hostId, facts);
        return;
      }
      link().sendDesired(facts.hostId, await desiredOf(facts.hostId), true);
      hosts.set(facts.hostId, facts);
    },
    gone: (hostId) => {
      hosts.delete(hostId);
    },
  };
}
