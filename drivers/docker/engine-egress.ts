// SPDX-License-Identifier: Apache-2.0
/**
 * Where the engine may go when it pulls for a client. The attacker runs a registry: its 401 names a place
 * for a token, its answers redirect, and the engine asks there from the host's own network. No look of ours
 * beforehand helps, since a registry can tell the two apart. So the engine's own packets are held, by the
 * cgroup of its process, wherever a registry sends it.
 *
 *  A. The rules are made anew before each pull: they name the cgroup as it is then, and an engine that was
 *     restarted has another one. A pull does not begin without them.
 *  B. First packets decide; answers pass. Those are let through that the engine needs besides: to the name
 *     servers it asks, to registries that the operator listed, and to its own bridges, since its proxies for
 *     published ports share its cgroup. So containers of this host stay within reach of such a registry.
 *  C. Whoever else pulls with this engine is held as well. So the operator asks for it, by naming the cgroup.
 */
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { isIP, isIPv4, isIPv6 } from "node:net";
import { DriverFault } from "../driver.ts";
import { type Firewall, NOT_THE_WORLD } from "./firewall.ts";
import { BRIDGE_PREFIX } from "./marks.ts";

export interface EngineRules {
  /** Below the root of the cgroup tree, without a slash in front. */
  cgroup: string;
  v4: string[];
  v6: string[];
}

/** A name below a systemd slice, or a path that somebody made; nothing that iptables reads otherwise. */
const CGROUP = /^[A-Za-z0-9_.@:-]+(\/[A-Za-z0-9_.@:-]+)*$/;
const NOT_THE_WORLD_6 = ["::/127", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8"];
const ANSWERS = "-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN";
const OWN = "-m addrtype --dst-type LOCAL -j DROP";
const HTTPS = 443;

export class EngineEgress {
  readonly #firewall: Firewall;
  readonly #cgroup: string;
  readonly #registries: readonly string[];

  constructor(firewall: Firewall, cgroup: string, registriesInside: readonly string[]) {
    if (!CGROUP.test(cgroup))
      throw new TypeError("engineCgroup must be a path below the root of the cgroup tree");
    this.#firewall = firewall;
    this.#cgroup = cgroup;
    this.#registries = registriesInside;
  }

  /** A. */
  async hold(): Promise<void> {
    const exempt = [...nameServers(), ...(await registriesAt(this.#registries))];
    const bridges = ["docker", "br-", BRIDGE_PREFIX].map((name) => `-o ${name}+ -j RETURN`);
    const passing = (is: (address: string) => boolean) =>
      exempt
        .filter(({ address }) => is(address))
        .flatMap(({ address, port, protocols }) =>
          protocols.map((protocol) => `-d ${address} -p ${protocol} --dport ${port} -j RETURN`),
        );
    const drops = (ranges: readonly string[]) => [OWN, ...ranges.map((range) => `-d ${range} -j DROP`)];
    try {
      await this.#firewall.holdEngine({
        cgroup: this.#cgroup,
        v4: [ANSWERS, ...passing(isIPv4), ...bridges, ...drops(NOT_THE_WORLD)],
        v6: [ANSWERS, ...passing(isIPv6), ...bridges, ...drops(NOT_THE_WORLD_6)],
      });
    } catch (cause) {
      throw new DriverFault("machine.start-failed", "the engine cannot be kept from addresses inside", {
        cause,
      });
    }
  }

  /** Nothing is pulled any more. */
  release(): Promise<void> {
    return this.#firewall.holdEngine(null);
  }
}

interface Exempt {
  address: string;
  port: number;
  protocols: ("tcp" | "udp")[];
}

/** Also one on this host, and never a link-local one, which is where clouds keep their secrets. */
function nameServers(): Exempt[] {
  let text = "";
  try {
    text = readFileSync("/etc/resolv.conf", "utf8");
  } catch {
    // None is asked, then.
  }
  return [...text.matchAll(/^nameserver\s+(\S+)/gm)]
    .map(([, address]) => address!)
    .filter((address) => isIP(address) !== 0 && !/^(169\.254\.|fe80:)/i.test(address))
    .map((address) => ({ address, port: 53, protocols: ["udp", "tcp"] }));
}

async function registriesAt(registries: readonly string[]): Promise<Exempt[]> {
  const found = await Promise.all(
    registries.map(async (registry) => {
      const [, host = "", port = String(HTTPS)] = /^(.*?)(?::(\d+))?$/.exec(registry)!;
      const addresses =
        isIP(host) !== 0
          ? [host]
          : (await lookup(host, { all: true }).catch(() => [])).map(({ address }) => address);
      return addresses.map((address): Exempt => ({ address, port: Number(port), protocols: ["tcp"] }));
    }),
  );
  return found.flat();
}
