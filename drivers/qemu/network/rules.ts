// SPDX-License-Identifier: Apache-2.0
/**
 * What a virtual machine may reach, in words of nft. The attacker is whoever has the guest, and in the end its QEMU: they send any
 * frame they like, and look for the host's own services, other machines, the operator's network, and a cloud's metadata
 * address. What is not the world is docker/firewall.ts's, as for containers.
 *
 *  A. Two tables: one in the machine's own namespace, where frames come in (whose they are), and one on the host
 *     (where they may go). Neither needs the other to hold.
 *  B. The host's is passed before everything that a firewall of the operator's or of Docker's lets through, and a drop is
 *     final. It names the interface, which need not exist yet, and is there before it.
 *  C. The host's table has the machine's name, is replaced in one step, and is gone in one step.
 *  D. Answers pass, and only in the direction of answers.
 *  E. Without the host's table a machine is deaf and dumb, not free: what leaves it is addressed to a card that nobody has, which
 *     the kernel drops as somebody else's, and only that table says that it is for the host after all. So whoever
 *     empties the host's rules (`nft flush ruleset`, as a reload of a firewall does) opens nothing.
 *  F. The host's table of connections is everybody's, and a full one fails all new connections of the computer. A machine
 *     has a share of it: connections that live, and new ones in a second, since one that was closed stays in it for two minutes.
 *  G. What a machine with a limit sends is counted after everything that would drop it, and the packet that would be over the limit
 *     is the first that does not pass. Answers to whoever logs in are counted as the rest; doors are not. From then on only
 *     those two are left, and whoever logs in at the pace of reading. It is the kernel that cuts: nobody has to look.
 */
import { NOT_THE_WORLD } from "../../docker/firewall.ts";
import { BRIDGE_PREFIX } from "../../docker/marks.ts";
import type { Addresses } from "./addresses.ts";

export interface Reach {
  /** On the host. */
  link: string;
  addresses: Addresses;
  /** Ports of the gateway that are open to the machine (doors.ts). */
  doors: readonly number[];
  /** A resolver behind the gateway. */
  dnsDoor: boolean;
  /** Asked directly; also in a private range, for names and nothing else. */
  nameServers: readonly string[];
}

/** Of one machine, either way (F). */
export interface Share {
  max: number;
  perSecond: number;
  burst: number;
}

/** The kernel's table has 262,144 places on a computer of 4 GiB or more. */
export const SHARE: Share = { max: 4096, perSecond: 64, burst: 1024 };

/** What a machine may send in its life, and what it has sent so far (G). */
export interface Meter {
  limitBytes: number;
  sentBytes: number;
  /** It was over its limit before: it stays cut, however little was missing. */
  cut: boolean;
}

export interface Carried {
  sentBytes: number;
  receivedBytes: number;
}

/** E. Of the numbers that nobody gives to cards; the same on every wire, and no card's on any. */
export const NOBODY = "02:00:00:00:00:01";
/** After address translation of what comes in, before every filter: iptables' `mangle` is at the same place. */
const BEFORE_FILTERS = -150;
export const FIRST = -300;
const AFTER_FILTERS = 50;
const SOURCE_NAT = 100;

const set = (members: readonly (string | number)[]) => `{ ${members.join(", ")} }`;

export interface HostRules {
  reach: Reach;
  carried: Carried;
  share: Share;
  /** Null: it may send what it likes. */
  meter: Meter | null;
  /** Whether the host's end of the wire is there: rules of a card go with it. */
  wired: boolean;
}

export function hostRules(table: string, { reach, carried, share, meter, wired }: HostRules): string {
  const { link, doors, dnsDoor, nameServers } = reach;
  const { gateway, guest } = reach.addresses;
  const leaving = meter === null ? "return" : "goto leaving";
  const answers = "ct direction reply ct state established,related";
  return lines(
    ...["inet", "netdev"].flatMap((family) => [
      `table ${family} ${table}`,
      `delete table ${family} ${table}`,
    ]),
    `table inet ${table} {`,
    `counter sent { packets 0 bytes ${carried.sentBytes} }`,
    `counter received { packets 0 bytes ${carried.receivedBytes} }`,
    ...(meter === null ? [] : metered(meter, guest)),
    "chain whose {",
    `type filter hook prerouting priority ${FIRST}; policy accept;`,
    `iifname != "${link}" return`,
    "meta nfproto != ipv4 drop",
    `ip saddr != ${guest} drop`,
    "}",
    "chain to-host {",
    `type filter hook input priority ${BEFORE_FILTERS}; policy accept;`,
    `iifname != "${link}" return`,
    'counter name "sent"',
    `${answers} ${meter === null ? "return" : "goto answering"}`,
    "ct status & confirmed == 0 jump opened",
    ...(doors.length > 0 ? [`ip daddr ${gateway} tcp dport ${set(doors)} return`] : []),
    ...(dnsDoor ? [`ip daddr ${gateway} meta l4proto { tcp, udp } th dport 53 ${leaving}`] : []),
    "drop",
    "}",
    "chain through {",
    `type filter hook forward priority ${BEFORE_FILTERS}; policy accept;`,
    // Nobody is forwarded in: the ingress is on the host itself.
    `oifname "${link}" jump inwards`,
    `iifname "${link}" jump outwards`,
    "}",
    "chain inwards {",
    ...(meter === null ? [] : ["ip daddr @cut drop"]),
    `${answers} return`,
    "drop",
    "}",
    "chain outwards {",
    'counter name "sent"',
    `${answers} ${leaving}`,
    "ct status & confirmed == 0 jump opened",
    ...(nameServers.length > 0
      ? [`ip daddr ${set(nameServers)} meta l4proto { tcp, udp } th dport 53 ${leaving}`]
      : []),
    `oifname "${BRIDGE_PREFIX}*" drop`,
    `ip daddr ${set(NOT_THE_WORLD)} drop`,
    ...(meter === null ? [] : [leaving]),
    "}",
    "chain from-host {",
    `type filter hook output priority ${BEFORE_FILTERS}; policy accept;`,
    `oifname "${link}" ct status & confirmed == 0 jump let-in`,
    ...(meter === null ? [] : [`oifname "${link}" ip daddr @cut ct direction original ${READING} drop`]),
    "}",
    ...["opened", "let-in"].flatMap((chain) => [`chain ${chain} {`, ...within(share), "}"]),
    "chain counted {",
    `type filter hook postrouting priority ${AFTER_FILTERS}; policy accept;`,
    `oifname "${link}" counter name "received"`,
    "}",
    "chain as-host {",
    `type nat hook postrouting priority ${SOURCE_NAT}; policy accept;`,
    `ip saddr ${guest} oifname != "${link}" masquerade`,
    "}",
    "}",
    ...(wired ? hearing(table, link) : []),
  );
}

/**
 * G. Bytes in a second, each way, for who logs in to a machine that is cut: to read why, and not to carry its disk away. The burst
 * is more than the largest packet that a guest hands over at once, or none of those would ever pass.
 */
const READING = "limit rate over 16 kbytes/second burst 128 kbytes";
export const METER = "egress";
/** Of packets that met the limit: a quota that is over is listed as one that is full. */
export const OVER = "over";

/** A quota that is over stays over: what it drops it counts as well, and `counter` only what passed. None can begin beyond its limit. */
const metered = ({ limitBytes, sentBytes, cut }: Meter, guest: string) => [
  `counter ${METER} { packets 0 bytes ${sentBytes} }`,
  `counter ${OVER} { packets ${cut ? 1 : 0} bytes 0 }`,
  `quota ${METER} { over ${limitBytes} bytes used ${cut ? limitBytes : Math.min(limitBytes, sentBytes)} bytes }`,
  `set cut { type ipv4_addr; size 1; flags dynamic; ${cut ? `elements = { ${guest} };` : ""} }`,
  ...["chain answering {", `quota name "${METER}" goto reading`, `counter name "${METER}"`, "}"],
  ...[
    "chain reading {",
    `counter name "${OVER}"`,
    "add @cut { ip saddr }",
    `${READING} drop`,
    `counter name "${METER}"`,
    "}",
  ],
  ...["chain leaving {", `quota name "${METER}" goto over`, `counter name "${METER}"`, "}"],
  ...["chain over {", `counter name "${OVER}"`, "add @cut { ip saddr }", "drop", "}"],
];

/** F. What is dropped here has no place in the table yet. The rate is first: counting costs more. */
const within = ({ max, perSecond, burst }: Share) => [
  `limit rate over ${perSecond}/second burst ${burst} packets drop`,
  `ct count over ${max} drop`,
];

/** E */
const hearing = (table: string, link: string) => [
  `table netdev ${table} {`,
  "chain heard {",
  `type filter hook ingress device "${link}" priority 0; policy accept;`,
  `ether daddr ${NOBODY} meta pkttype set host`,
  "}",
  "}",
];

/** Frames as they leave QEMU: of this machine's card and address, and for nobody but its gateway by ARP. */
export function guardRules(tap: string, mac: string, { gateway, guest }: Addresses): string {
  return lines(
    "table netdev guard {",
    "chain leaving {",
    `type filter hook ingress device "${tap}" priority 0; policy drop;`,
    `ether saddr != ${mac} drop`,
    `arp saddr ether ${mac} arp saddr ip ${guest} arp daddr ip ${gateway} accept`,
    `ip saddr ${guest} ether daddr set ${NOBODY} accept`,
    "}",
    "}",
  );
}

export const lines = (...all: string[]) => `${all.join("\n")}\n`;
