// SPDX-License-Identifier: Apache-2.0
/**
 * What a machine may reach. The attacker is root in a container, and looks for the host's own services,
 * other machines, the operator's network and the cloud's metadata address.
 *
 *  A. The rules stand in `mangle`, in INPUT and FORWARD: those chains are passed before the ones of
 *     `filter`, where Docker, and whoever else keeps a firewall, inserts accepting rules above others'.
 *     A drop there is final, and an accept of ours is none: it only leaves the table.
 *  B. They name the bridge, which need not exist yet, and are made before a container starts.
 *  C. FORWARD and not PREROUTING: there the destination is the one after Docker's address translation,
 *     so a published port of another machine is seen as that machine.
 *  D. Answers pass, and only in the direction of answers.
 *  E. One `iptables-restore` replaces all rules of a machine at once: there is no moment with half.
 *
 * Names keep working: Docker's resolver is inside the container's network namespace, and asks the host's
 * name servers from there. One in a private range is let through, for port 53 and nothing else.
 *
 * The machines have no IPv6; its rules are for the day that somebody finds a way to get some.
 */
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import type { EngineRules } from "./engine-egress.ts";
import { BRIDGE_PREFIX, chainOf, commentOf, MACHINE_ID } from "./marks.ts";
import { mustRun } from "./program.ts";

const TIMEOUT_MS = 30_000;
/** Another program may hold the lock of the tables. */
const WAIT = ["-w", "20"];

/** In the place of a machine's id. */
const ENGINE = "engine";

/** Not the world: this network, private, shared, loopback, link-local, multicast and reserved addresses. */
export const NOT_THE_WORLD = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
  // Where clouds answer with what a machine may know of itself, its keys among it.
  ...["168.63.129.16/32", "192.0.0.0/24"],
  ...["172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"],
];

export class Firewall {
  readonly #owner: string;
  #last: Promise<unknown> = Promise.resolve();

  constructor(owner: string) {
    this.#owner = owner;
  }

  /** Makes the machine's rules what they should be, whatever they were. */
  protect(machineId: string, bridges: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      const comment = commentOf(this.#owner, machineId);
      const chain = chainOf(this.#owner, machineId);
      await both(
        replaceRules("iptables", comment, chain, rules4(chain, bridges)),
        replaceRules("ip6tables", comment, chain, rules6(bridges)),
      );
    });
  }

  /** Removes every rule of the machine. */
  async release(machineId: string): Promise<void> {
    await this.#inTurn(async () => {
      const comment = commentOf(this.#owner, machineId);
      const chain = chainOf(this.#owner, machineId);
      await both(
        replaceRules("iptables", comment, chain, null),
        replaceRules("ip6tables", comment, chain, null),
      );
    });
  }

  /** Ids of machines that have rules of this owner. */
  async list(): Promise<Set<string>> {
    const marks = `casemate:${this.#owner}:`;
    const saved = await mustRun(["iptables-save", "-t", "mangle"], { timeoutMs: TIMEOUT_MS });
    return new Set(
      [...saved.matchAll(/casemate:[a-z0-9.:_-]+/g)]
        .map(([text]) => text)
        .filter((text) => text.startsWith(marks))
        .map((text) => text.slice(marks.length))
        .filter((id) => MACHINE_ID.test(id)),
    );
  }

  /** What the engine's own process may reach (engine-egress.ts); null: no rule is left of it. */
  async holdEngine(rules: EngineRules | null): Promise<void> {
    await this.#inTurn(async () => {
      const comment = commentOf(this.#owner, ENGINE);
      const chain = chainOf(this.#owner, ENGINE);
      const of = (kept: readonly string[] | undefined): Rule[] | null =>
        rules === null
          ? null
          : [
              ...kept!.map((rule): Rule => [chain, rule]),
              ["OUTPUT", `-m cgroup --path ${rules.cgroup} -j ${chain}`],
            ];
      await both(
        replaceRules("iptables", comment, chain, of(rules?.v4)),
        replaceRules("ip6tables", comment, chain, of(rules?.v6)),
      );
    });
  }

  /** Rules are read, then replaced: two at once would undo each other. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => {});
    return turn;
  }
}

/** Neither is left running when the other fails. */
async function both(...families: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(families)).find((each) => each.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/** `[chain, rule]`, in order; what stands in a built-in chain is inserted, so that it comes first. */
type Rule = [string, string];

function rules4(chain: string, bridges: readonly string[]): Rule[] {
  const answers = "-m conntrack --ctstate ESTABLISHED,RELATED --ctdir REPLY -j RETURN";
  return [
    [chain, answers], // D
    ...privateNameServers().flatMap((server): Rule[] => [
      [chain, `-d ${server} -p udp --dport 53 -j RETURN`],
      [chain, `-d ${server} -p tcp --dport 53 -j RETURN`],
    ]),
    [chain, `-o ${BRIDGE_PREFIX}+ -j DROP`],
    ...NOT_THE_WORLD.map((range): Rule => [chain, `-d ${range} -j DROP`]),
    ...bridges.flatMap((bridge): Rule[] => [
      // Within one network: seen here only where bridged packets pass through the tables at all.
      ["FORWARD", `-i ${bridge} -o ${bridge} -j RETURN`],
      ["FORWARD", `-i ${bridge} -j ${chain}`],
      // Nobody is forwarded in: the ingress is on the host itself.
      ["FORWARD", `-o ${bridge} -m conntrack --ctstate NEW -j DROP`],
      ["INPUT", `-i ${bridge} ${answers}`],
      ["INPUT", `-i ${bridge} -j DROP`],
    ]),
  ];
}

function rules6(bridges: readonly string[]): Rule[] {
  return bridges.flatMap((bridge): Rule[] => [
    ["FORWARD", `-i ${bridge} -o ${bridge} -j RETURN`],
    ["FORWARD", `-i ${bridge} -j DROP`],
    ["FORWARD", `-o ${bridge} -j DROP`],
    ["INPUT", `-i ${bridge} -j DROP`],
  ]);
}

/** E. Null removes the chain too. */
async function replaceRules(
  family: "iptables" | "ip6tables",
  comment: string,
  chain: string,
  rules: readonly Rule[] | null,
): Promise<void> {
  const saved = await mustRun([`${family}-save`, "-t", "mangle"], { timeoutMs: TIMEOUT_MS });
  const lines = saved.split("\n");
  const hasChain = lines.some((line) => line.startsWith(`:${chain} `));
  const old = lines.filter(
    (line) =>
      line.startsWith("-A ") && line.includes(`--comment "${comment}"`) && !line.startsWith(`-A ${chain} `),
  );
  if (rules === null && old.length === 0 && !hasChain) return;
  const position = new Map<string, number>();
  const added = (rules ?? []).map(([at, rule]) => {
    const text = `-m comment --comment "${comment}" ${rule}`;
    if (at === chain) return `-A ${chain} ${text}`;
    position.set(at, (position.get(at) ?? 0) + 1);
    return `-I ${at} ${position.get(at)} ${text}`;
  });
  const input = [
    "*mangle",
    // Declaring a chain empties it.
    ...(rules === null && !hasChain ? [] : [`:${chain} - [0:0]`]),
    ...old.map((line) => line.replace(/^-A /, "-D ")),
    ...added,
    ...(rules === null && hasChain ? [`-X ${chain}`] : []),
    "COMMIT",
    "",
  ].join("\n");
  await mustRun([`${family}-restore`, ...WAIT, "--noflush"], { timeoutMs: TIMEOUT_MS, input });
}

/**
 * Those that Docker gives its resolver: the host's, but not what listens on the host itself, and never
 * a link-local one, which is where clouds keep their secrets.
 */
function privateNameServers(): string[] {
  const read = (path: string) => {
    try {
      return [...readFileSync(path, "utf8").matchAll(/^nameserver\s+(\S+)/gm)].map(([, address]) => address!);
    } catch {
      return [];
    }
  };
  const own = read("/etc/resolv.conf");
  const servers = own.every((each) => each.startsWith("127."))
    ? read("/run/systemd/resolve/resolv.conf")
    : own;
  return servers.filter((each) => isIPv4(each) && !/^(?:127|169\.254)\./.test(each)).slice(0, 3);
}
