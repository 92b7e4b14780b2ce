// SPDX-License-Identifier: Apache-2.0
/**
 * Machines of a network of their own: network namespaces on one bridge, with nothing else on it and no
 * way out. What runs in one is a process of this machine that sees only that network and a loopback.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { Requirement } from "./requirements.ts";

const ip = (...args: string[]) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });

export const networkNamespaces: Requirement = {
  met:
    process.getuid?.() === 0 &&
    spawnSync("ip", ["netns", "list"], { stdio: "ignore" }).status === 0 &&
    spawnSync("nsenter", ["--version"], { stdio: "ignore" }).status === 0,
  reason: "needs root and network namespaces (apt-get install -y iproute2)",
};

export interface Network extends Disposable {
  /** Words before a command, so that it runs in there. */
  inside(name: string): string[];
  addressOf(name: string): string;
}

/** The first name has the bridge. Addresses are 10.214.‹own›.1, .2, … */
export function openNetwork(names: readonly string[]): Network {
  const mark = randomBytes(3).toString("hex");
  const third = 1 + (parseInt(mark.slice(0, 2), 16) % 254);
  const spaceOf = (name: string) => `cm-${mark}-${name}`;
  const addressOf = (name: string) => `10.214.${third}.${names.indexOf(name) + 1}`;
  const hub = spaceOf(names[0]!);
  const made: string[] = [];
  const close = () => {
    // Interfaces go with their namespace.
    for (const space of made) spawnSync("ip", ["netns", "delete", space]);
  };
  try {
    for (const name of names) {
      ip("netns", "add", spaceOf(name));
      made.push(spaceOf(name));
      ip("-n", spaceOf(name), "link", "set", "lo", "up");
    }
    ip("-n", hub, "link", "add", "br0", "type", "bridge");
    ip("-n", hub, "addr", "add", `${addressOf(names[0]!)}/24`, "dev", "br0");
    ip("-n", hub, "link", "set", "br0", "up");
    for (const [at, name] of names.slice(1).entries()) {
      const space = spaceOf(name);
      ip("-n", hub, "link", "add", `to${at}`, "type", "veth", "peer", "name", "eth0", "netns", space);
      ip("-n", hub, "link", "set", `to${at}`, "master", "br0", "up");
      ip("-n", space, "addr", "add", `${addressOf(name)}/24`, "dev", "eth0");
      ip("-n", space, "link", "set", "eth0", "up");
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    inside: (name) => ["nsenter", `--net=/run/netns/${spaceOf(name)}`, "--"],
    addressOf,
    [Symbol.dispose]: close,
  };
}
