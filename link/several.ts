// SPDX-License-Identifier: Apache-2.0
/**
 * Several links as one: the hosts of this machine over the socket, all others over the broker. A host
 * is on one of them at a time.
 */
import type { ControlLink } from "./port.ts";

export function several(links: readonly ControlLink[]): ControlLink {
  const [only] = links;
  if (links.length === 1 && only !== undefined) return only;
  return {
    hosts: () => links.flatMap((link) => link.hosts()),
    sendDesired: (hostId, batch, complete) => {
      // A link on which the host is not says nothing.
      for (const link of links) link.sendDesired(hostId, batch, complete);
    },
    openStream: (hostId, request) => {
      const its = links.find((link) => link.hosts().some((facts) => facts.hostId === hostId)) ?? links[0]!;
      return its.openStream(hostId, request);
    },
    drop: (hostId) => {
      for (const link of links) link.drop(hostId);
    },
    close: async () => {
      await Promise.all(links.map((link) => link.close()));
    },
  };
}
