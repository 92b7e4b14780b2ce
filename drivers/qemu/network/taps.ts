// SPDX-License-Identifier: Apache-2.0
/**
 * A network for each virtual machine: a namespace of its own, in which its QEMU is started, and a wire to the host.
 *
 *     guest ─ QEMU ─[tap0 ─ br0 ─ up0]─ csm… ─ host ─ the world
 *                     namespace         gateway's address
 *
 *  A. The namespace has no address, so a guest that took over its QEMU finds itself in an empty room with the one wire
 *     it had before.
 *  B. Everything has a name that follows from owner and machine: the namespace, the host's end of the wire, the
 *     table of rules, the comment of what a firewall has to let through. So a kill between any two steps
 *     leaves nothing that `remove` does not find, and `list` sees all of it.
 *  C. Rules are there before the wire is (rules.ts), and go after it. What is said on it is heard last.
 *  D. QEMU is given the open end of the tap and no right to open another.
 *  E. A system container has the namespace for itself, with the machine's address on its end of the wire. The namespace is ours
 *     and not its users': who is root inside may change neither address nor neighbours, and sends no frame of their own
 *     making. So all that it sends is for nobody's card, as a tap's guard has it (rules.ts, E).
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { BRIDGE_PREFIX, commentOf, MACHINE_ID } from "../../docker/marks.ts";
import { mustRun, runProgram } from "../../docker/program.ts";
import { DriverFault } from "../../driver.ts";
import type { Addresses } from "./addresses.ts";
import { enableForwarding } from "./forwarding.ts";
import {
  type Carried,
  guardRules,
  hostRules,
  lines,
  METER,
  type Meter,
  NOBODY,
  OVER,
  SHARE,
  type Share,
} from "./rules.ts";

const TIMEOUT_MS = 30_000;
const NAMESPACES = "/run/netns";
export const TAP = "tap0";
/** Another program may hold the lock of the tables. */
const IPTABLES = ["iptables", "-w", "20"];
const RULES_MAX = 16;
/** E. Of a namespace: what its users' root may do in it is decided here, since it has no rights over it. */
const WITHOUT_RIGHTS = `for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $each; done
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range`;

export interface TapAsk {
  addresses: Addresses;
  doors: readonly number[];
  dnsDoor: boolean;
  nameServers: readonly string[];
  /** Of one whose sending is limited: what is known of it where the kernel knows less (rules.ts, G). */
  meter?: Meter | undefined;
}

/** What the kernel counted of a machine with a limit. */
export type Metered = Omit<Meter, "limitBytes">;

export class Taps {
  readonly #owner: string;
  readonly #share: Share;

  constructor(owner: string, share = SHARE) {
    this.#owner = owner;
    this.#share = share;
  }

  /** What is missing for networks of machines' own, or null. */
  async missing(inside: "tap" | "wire" = "tap"): Promise<string | null> {
    if (process.getuid?.() !== 0) return "networks of machines' own need root";
    for (const [program, from] of [
      ["ip", "iproute2"],
      ["nft", "nftables"],
      ["nsenter", "util-linux"],
      ["perl", "perl-base"],
    ] as const) {
      const ran = await runProgram([program, program === "ip" ? "-V" : "--version"], {
        timeoutMs: TIMEOUT_MS,
      }).catch(() => null);
      if (ran?.code !== 0) return `networks of machines' own need ${program}: apt-get install -y ${from}`;
    }
    if (inside === "tap" && !existsSync("/dev/net/tun"))
      return "networks of machines' own need /dev/net/tun: modprobe tun";
    return null;
  }

  namespaceOf(machineId: string): string {
    return `${NAMESPACES}/${this.#name(machineId)}`;
  }

  macOf(machineId: string): string {
    const [a, b, c, d] = createHash("sha256").update(`mac\n${this.#owner}\n${machineId}`).digest();
    // Of QEMU's own numbers; nobody else is on this wire.
    return ["52", "54", ...[a!, b!, c!, d!].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
  }

  /** Replaces what there is of an earlier start. Rejects with nothing of it left to be reached. */
  async make(machineId: string, ask: TapAsk, inside: "tap" | "wire" = "tap"): Promise<void> {
    await this.remove(machineId);
    await this.protect(machineId, ask);
    const [name, link] = [this.#name(machineId), this.linkOf(machineId)];
    await ip("netns", "add", name);
    await batch([], [`link add ${link} type veth peer name up0 netns ${name}`]);
    for (const [file, value] of [
      ["ipv6/conf/#/disable_ipv6", "1"],
      ["ipv4/conf/#/rp_filter", "1"],
      ["ipv4/conf/#/arp_ignore", "1"],
      ["ipv4/conf/#/accept_redirects", "0"],
      ["ipv4/conf/#/send_redirects", "0"],
      ["ipv4/conf/#/forwarding", "1"],
    ] as const)
      writeIfThere(`/proc/sys/net/${file.replace("#", link)}`, value);
    await (inside === "tap" ? this.#joinTap(machineId, name, ask) : this.#giveWire(machineId, name, ask));
    await this.#rule(machineId, ask);
    await batch([], [`addr add ${ask.addresses.gateway}/30 dev ${link}`, `link set ${link} up`]);
  }

  async #joinTap(machineId: string, name: string, ask: TapAsk): Promise<void> {
    const joined = [
      `tuntap add dev ${TAP} mode tap vnet_hdr`,
      "link add br0 type bridge forward_delay 0",
      ...[`set ${TAP} master br0`, "set up0 master br0"].map((words) => `link ${words}`),
    ];
    await batch(["-n", name], joined);
    const into = ["nsenter", `--net=${this.namespaceOf(machineId)}`];
    await mustRun([...into, "nft", "-f", "-"], {
      timeoutMs: TIMEOUT_MS,
      input: guardRules(TAP, this.macOf(machineId), ask.addresses),
    });
    await mustRun(
      [...into, "sh", "-c", "for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $each; done"],
      { timeoutMs: TIMEOUT_MS },
    );
    await batch(
      ["-n", name],
      [TAP, "up0", "br0"].map((device) => `link set ${device} up`),
    );
  }

  /** E */
  async #giveWire(machineId: string, name: string, { addresses }: TapAsk): Promise<void> {
    await mustRun(["nsenter", `--net=${this.namespaceOf(machineId)}`, "sh", "-ec", WITHOUT_RIGHTS], {
      timeoutMs: TIMEOUT_MS,
    });
    await batch(
      ["-n", name],
      [
        "link set lo up",
        `addr add ${addresses.guest}/30 dev up0`,
        "link set up0 up",
        `neigh replace ${addresses.gateway} lladdr ${NOBODY} dev up0 nud permanent`,
        `route add default via ${addresses.gateway}`,
      ],
    );
  }

  /** Makes the machine's rules what they should be, whatever they were. What was counted is not lost. */
  async protect(machineId: string, ask: TapAsk): Promise<void> {
    await enableForwarding();
    await this.#rule(machineId, ask);
    await this.#let(machineId);
  }

  async #rule(machineId: string, ask: TapAsk): Promise<void> {
    const link = this.linkOf(machineId);
    const { meter: asked, ...reached } = ask;
    const meter = asked === undefined ? null : await this.#still(machineId, asked);
    const carried = (await this.carried(machineId)) ?? { sentBytes: 0, receivedBytes: 0 };
    const wired = existsSync(settingsOf(link));
    const rules = { reach: { link, ...reached }, carried, share: this.#share, meter, wired };
    await nft(hostRules(this.#name(machineId), rules));
  }

  /**
   * The meter that the next rules begin with. Between reading what was counted and the rules that go on from there nothing passes: it
   * would be sent for nothing. Whoever is killed between leaves a machine that sends nothing, until its rules are made again.
   */
  async #still(machineId: string, asked: Meter): Promise<Meter> {
    const table = `inet ${this.#name(machineId)}`;
    const held = ["answering", "leaving"].map((chain) => `insert rule ${table} ${chain} drop`);
    const { code } = await runProgram(["nft", "-f", "-"], {
      timeoutMs: TIMEOUT_MS,
      input: lines(...held),
    });
    const counted = (await this.metered()).get(machineId);
    // There were no rules, or none with a meter.
    if (counted === undefined) return asked;
    if (code !== 0) throw new DriverFault("host.not-ready", "the machine's meter cannot be held still");
    return {
      limitBytes: asked.limitBytes,
      sentBytes: Math.max(asked.sentBytes, counted.sentBytes),
      cut: asked.cut || counted.cut,
    };
  }

  /** What each machine with a limit has sent, as the kernel has it now. */
  async metered(): Promise<Map<string, Metered>> {
    const said = await mustRun(["nft", "-j", "list", "counters"], { timeoutMs: TIMEOUT_MS });
    type Counter = { family: string; table: string; name: string; bytes: number; packets: number };
    const { nftables } = JSON.parse(said) as { nftables: { counter?: Counter }[] };
    const start = this.#name("");
    const all = nftables.flatMap(({ counter }) => {
      const own = counter?.family === "inet" && counter.table.startsWith(start);
      return own ? [{ ...counter, id: counter.table.slice(start.length) }] : [];
    });
    const over = new Set(all.flatMap(({ id, name, packets }) => (name === OVER && packets > 0 ? [id] : [])));
    const counted = all.filter(({ id, name }) => name === METER && MACHINE_ID.test(id));
    return new Map(counted.map(({ id, bytes }) => [id, { sentBytes: bytes, cut: over.has(id) }]));
  }

  /** What went over the wire since the start, as the host counts it; null when there is no such network. */
  async carried(machineId: string): Promise<Carried | null> {
    const words = ["nft", "-j", "list", "counters", "table", "inet", this.#name(machineId)];
    const { code, stdout } = await runProgram(words, { timeoutMs: TIMEOUT_MS });
    if (code !== 0) return null;
    const said = JSON.parse(stdout) as { nftables: { counter?: { name: string; bytes: number } }[] };
    const of = (name: string) => said.nftables.find(({ counter }) => counter?.name === name)?.counter?.bytes;
    return { sentBytes: of("sent") ?? 0, receivedBytes: of("received") ?? 0 };
  }

  /** What runs in it has ended. Idempotent. */
  async remove(machineId: string): Promise<void> {
    const [name, link] = [this.#name(machineId), this.linkOf(machineId)];
    for (const [path, words] of [
      [settingsOf(link), ["link", "del", link]],
      [this.namespaceOf(machineId), ["netns", "del", name]],
    ] as const)
      await deleteIfThere(path, words);
    // Deleting what is not there is a fault; naming it first makes it be there.
    const tables = ["inet", "netdev"].map(
      (family) => `table ${family} ${name}\ndelete table ${family} ${name}\n`,
    );
    await nft(tables.join(""));
    await this.#unlet(machineId);
  }

  /** Ids of machines of which there is anything. */
  async list(): Promise<Set<string>> {
    const spaces = existsSync(NAMESPACES) ? readdirSync(NAMESPACES) : [];
    const tables = await this.#tables();
    return this.#idsOf([...spaces, ...tables.map(({ name }) => name)]);
  }

  /** Ids of machines whose rules are there, all of them. */
  async ruled(): Promise<Set<string>> {
    const tables = await this.#tables();
    const of = (family: string) =>
      this.#idsOf(tables.filter((each) => each.family === family).map(({ name }) => name));
    const heard = of("netdev");
    return new Set([...of("inet")].filter((id) => heard.has(id)));
  }

  async #tables(): Promise<{ family: string; name: string }[]> {
    const said = await mustRun(["nft", "list", "tables"], { timeoutMs: TIMEOUT_MS });
    return [...said.matchAll(/^table (\S+) (\S+)$/gm)].map(([, family, name]) => ({
      family: family!,
      name: name!,
    }));
  }

  #idsOf(names: readonly string[]): Set<string> {
    const start = this.#name("");
    const found = names.filter((name) => name.startsWith(start)).map((name) => name.slice(start.length));
    return new Set(found.filter((id) => MACHINE_ID.test(id)));
  }

  /** The host's end of the wire. The kernel takes 15 characters for a name. */
  linkOf(machineId: string): string {
    const digest = createHash("sha256").update(`wire\n${this.#owner}\n${machineId}`).digest("hex");
    return BRIDGE_PREFIX + digest.slice(0, 12);
  }

  #name(machineId: string): string {
    return `casemate-${this.#owner}-${machineId}`;
  }

  /**
   * A firewall that forwards nothing by itself, as Docker's, has to let through what our own rules
   * left of it. Where there is none of that kind this is no harm, and without its program not needed.
   */
  async #let(machineId: string): Promise<void> {
    await this.#unlet(machineId);
    for (const words of this.#letting(machineId)) {
      const [chain, ...rule] = words;
      const ran = await runProgram([...IPTABLES, "-I", chain!, "1", ...rule], {
        timeoutMs: TIMEOUT_MS,
      }).catch(() => null);
      if (ran === null) return;
      if (ran.code !== 0)
        throw new DriverFault("machine.start-failed", "the host's firewall does not take a rule");
    }
  }

  async #unlet(machineId: string): Promise<void> {
    for (const words of this.#letting(machineId))
      for (let times = 0; times < RULES_MAX; times++) {
        const ran = await runProgram([...IPTABLES, "-D", ...words], { timeoutMs: TIMEOUT_MS }).catch(
          () => null,
        );
        if (ran?.code !== 0) break;
      }
  }

  #letting(machineId: string): string[][] {
    const link = this.linkOf(machineId);
    const comment = ["-m", "comment", "--comment", commentOf(this.#owner, machineId)];
    const answers = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED"];
    return [
      ["FORWARD", "-i", link, ...comment, "-j", "ACCEPT"],
      ["FORWARD", "-o", link, ...answers, ...comment, "-j", "ACCEPT"],
      ["INPUT", "-i", link, ...comment, "-j", "ACCEPT"],
    ];
  }
}

/** There while the interface is, in the network that this process is in; /sys shows that of whoever mounted it. */
const settingsOf = (link: string) => `/proc/sys/net/ipv4/conf/${link}`;

const ip = (...words: string[]) => mustRun(["ip", ...words], { timeoutMs: TIMEOUT_MS });
const batch = (before: readonly string[], all: readonly string[]) =>
  mustRun(["ip", ...before, "-batch", "-"], { timeoutMs: TIMEOUT_MS, input: `${all.join("\n")}\n` });
const nft = (input: string) => mustRun(["nft", "-f", "-"], { timeoutMs: TIMEOUT_MS, input });

/** A kernel without IPv6 has nothing to turn off. */
function writeIfThere(path: string, value: string): void {
  if (existsSync(path)) writeFileSync(path, value);
}

/** It may go by itself meanwhile: a wire goes with either of its ends. */
async function deleteIfThere(path: string, words: readonly string[]): Promise<void> {
  if (!existsSync(path)) return;
  await ip(...words).catch((error: unknown) => {
    if (existsSync(path)) throw error;
  });
}

/**
 * Opens the tap and becomes the program that comes after, which has it as this descriptor. TUNSETIFF with IFF_TAP, IFF_NO_PI
 * and IFF_VNET_HDR; QEMU need not be able to open /dev/net/tun.
 */
export const TAP_DESCRIPTOR = 3;
const OPEN_TAP = `$^F = 255; open(my $tun, "+<", "/dev/net/tun") or die "tun: $!\\n";
fileno($tun) == ${TAP_DESCRIPTOR} or die "tun: not descriptor ${TAP_DESCRIPTOR}\\n";
my $ask = pack("a16 S x22", "${TAP}", 0x0002 | 0x1000 | 0x4000);
ioctl($tun, 0x400454ca, $ask) or die "tap: $!\\n"; exec { $ARGV[0] } @ARGV or die "exec: $!\\n";`;

/** Words before a program that is to run in a machine's namespace with its tap open. */
export const inNamespace = (path: string): string[] => ["nsenter", `--net=${path}`, "perl", "-e", OPEN_TAP];
