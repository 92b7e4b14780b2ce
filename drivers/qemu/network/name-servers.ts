// SPDX-License-Identifier: Apache-2.0
/**
 * Who a machine asks for names: whoever the host asks, and never a link-local address, which is where clouds keep
 * their secrets. A resolver on the host's own loopback is asked through a door (doors.ts), unless what it asks itself is known.
 */
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";

export interface NameServers {
  direct: string[];
  /** On the host's loopback; null when there is somebody to be asked directly. */
  door: string | null;
}

const SERVERS_MAX = 3;

export function findNameServers(root = ""): NameServers {
  const own = read(`${root}/etc/resolv.conf`);
  const direct = own.filter(isOutside);
  if (direct.length > 0) return { direct: direct.slice(0, SERVERS_MAX), door: null };
  const upstream = read(`${root}/run/systemd/resolve/resolv.conf`).filter(isOutside);
  if (upstream.length > 0) return { direct: upstream.slice(0, SERVERS_MAX), door: null };
  return { direct: [], door: own.find((each) => each.startsWith("127.")) ?? null };
}

const isOutside = (address: string) => !/^(?:0|127|169\.254)\./.test(address);

function read(path: string): string[] {
  try {
    return [...readFileSync(path, "utf8").matchAll(/^nameserver\s+(\S+)/gm)]
      .map(([, address]) => address!)
      .filter(isIPv4);
  } catch {
    return [];
  }
}
