// SPDX-License-Identifier: Apache-2.0
/**
 * A host in a network namespace of its own, a world next door to it, and machines whose guest is a namespace behind a real tap:
 * what a guest's kernel sends goes through the same device as from a QEMU.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { type Requirement, root } from "#testing/requirements.ts";
import { newMachineId } from "../../conformance/machine.ts";
import type { Share } from "./rules.ts";
import { type TapAsk, Taps } from "./taps.ts";

export const ownNetworks: Requirement = {
  met:
    root.met &&
    ["/usr/sbin/nft", "/usr/sbin/ip", "/usr/bin/nsenter", "/dev/net/tun", "/bin/busybox"].every(existsSync),
  reason: "needs root, nftables, iproute2, busybox and /dev/net/tun",
};

export const METADATA = "169.254.169.254";
export const PRIVATE = "10.99.99.99";
export const WORLD = "203.0.113.2";
export const HOST_OUTSIDE = "203.0.113.1";
export const PORT = 7777;

/** Two taps, one in each namespace, and every frame of one carried to the other. */
const SHUTTLE = `$^F = 255; sub enter { open(my $n, "<", $_[0]) or die "$_[0]: $!"; syscall(308, fileno($n), 0) == 0 or die "setns: $!" }
sub tap { open(my $t, "+<", "/dev/net/tun") or die; ioctl($t, 0x400454ca, pack("a16 S x22", $_[0], 0x5002)) or die "tap: $!"; $t }
enter($ARGV[0]); my $a = tap("tap0"); enter($ARGV[1]); my $b = tap("eth0"); syswrite(STDOUT, "up\\n");
while (1) { my $r = ""; vec($r, fileno($_), 1) = 1 for $a, $b; select($r, undef, undef, undef);
  for ([$a, $b], [$b, $a]) { next unless vec($r, fileno($_->[0]), 1); my $n = sysread($_->[0], my $f, 70000); syswrite($_->[1], $f) if $n; } }`;

/** Greets whoever connects, and gives back what they send. */
const LISTEN = `my $s = IO::Socket::INET->new(LocalAddr => $ARGV[0], LocalPort => $ARGV[1], Listen => 8, ReuseAddr => 1) or die "$!";
$SIG{CHLD} = $SIG{PIPE} = "IGNORE"; while (my $c = $s->accept) { next if fork; print $c "hello\\n"; $c->flush;
  while (sysread($c, my $b, 65536)) { syswrite($c, $b) } exit }`;

/** Words for perl. */
export const listenAt = (address: string, port: number) => [
  ...["-MIO::Socket::INET", "-e", LISTEN, address, String(port)],
];

/** A packet to each of so many ports, and nobody answers. */
export const knockAt = (address: string, ports: number) =>
  `perl -MIO::Socket::INET -e 'for (1..${ports}) { my $s = IO::Socket::INET->new(PeerAddr => "${address}", PeerPort => 20000 + $_, Proto => "udp") or die "$!"; $s->send("x") }'`;

/** Says 192.0.2.7 to every question. */
const RESOLVE = `my $s = IO::Socket::INET->new(LocalAddr => $ARGV[0], LocalPort => 53, Proto => "udp") or die "$!";
while (my $from = $s->recv(my $q, 512)) { my $end = index($q, "\\0", 12) + 5;
  my $type = unpack("n", substr($q, $end - 4, 2)); my $has = $type == 1 ? 1 : 0;
  $s->send(substr($q, 0, 2) . pack("n5", 0x8180, 1, $has, 0, 0) . substr($q, 12, $end - 12)
    . ($has ? pack("n3Nn", 0xc00c, 1, 1, 60, 4) . pack("C4", 192, 0, 2, 7) : ""), 0, $from) }`;

/** In a namespace whose number had another owner, or will have one: when it is opened, and when it goes. */
export const FORGET_FORWARDING =
  "rm -f /run/casemate-forwarding/$(readlink /proc/self/ns/net | tr -dc 0-9); rmdir /run/casemate-forwarding 2>/dev/null";

export class NetworkLab {
  readonly owner: string;
  readonly taps: Taps;
  readonly #world: string;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #children: ChildProcess[] = [];
  readonly #spaces: string[] = [];
  readonly #machines = new Set<string>();

  static async open(share?: Share): Promise<NetworkLab> {
    const lab = new NetworkLab(share);
    await lab.#furnish();
    return lab;
  }

  private constructor(share?: Share) {
    const mark = randomBytes(3).toString("hex");
    this.owner = `lab-${mark}`;
    this.taps = new Taps(this.owner);
    this.#world = `casemate-lab-${mark}`;
    this.#child = this.#spawnHost(share);
    this.#answers = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** In the host's namespace. */
  host(command: string): string {
    return this.#run(["nsenter", "-t", String(this.#child.pid), "-n"], command);
  }

  world(command: string): string {
    return this.#run(["nsenter", `--net=/run/netns/${this.#world}`], command);
  }

  /** What of these (`address:port`) takes a connection from a namespace. */
  reachable(inside: string, targets: readonly string[]): string[] {
    const tries = targets.map((target) => {
      const [address, port] = target.split(":");
      return `(busybox nc -w 1 ${address} ${port} </dev/null >/dev/null 2>&1 && echo ${target}) &`;
    });
    const said = this.#run(["nsenter", `--net=/run/netns/${inside}`], `${tries.join("\n")}\nwait`);
    return targets.filter((target) => said.split("\n").includes(target));
  }

  inside(space: string, command: string): string {
    return this.#run(["nsenter", `--net=/run/netns/${space}`], command);
  }

  listenInWorld(address: string, port = PORT): void {
    this.#listen([`--net=/run/netns/${this.#world}`], address, port);
  }

  listenInside(space: string): void {
    this.#listen([`--net=/run/netns/${space}`], "0.0.0.0");
  }

  resolveOnHost(address: string): void {
    const words = ["perl", "-MIO::Socket::INET", "-e", RESOLVE, address];
    this.#children.push(
      spawn("nsenter", ["-t", String(this.#child.pid), "-n", ...words], { stdio: "ignore" }),
    );
  }

  listenOnHost(address: string, port = PORT): void {
    this.#listen(["-t", String(this.#child.pid), "-n"], address, port);
  }

  async call(name: string, ...args: unknown[]): Promise<unknown> {
    this.#child.stdin!.write(`${JSON.stringify([name, ...args])}\n`);
    const { value } = await this.#answers.next();
    const { ok, error } = JSON.parse(value as string) as { ok: unknown; error?: string };
    if (error !== undefined) throw new Error(error);
    return ok;
  }

  /** A machine's network, and a guest behind its tap. Answers the guest's namespace. */
  async machine(
    ask: TapAsk,
    more: { address?: string; mac?: string } = {},
  ): Promise<[id: string, space: string]> {
    const id = newMachineId();
    this.#machines.add(id);
    await this.call("make", id, ask);
    return [id, await this.guest(id, ask, more)];
  }

  async guest(
    id: string,
    { addresses }: TapAsk,
    more: { address?: string; mac?: string } = {},
  ): Promise<string> {
    const space = `${this.#world}-g${this.#spaces.length}`;
    this.#spaces.push(space);
    execFileSync("ip", ["netns", "add", space]);
    const shuttle = spawn("perl", ["-e", SHUTTLE, this.taps.namespaceOf(id), `/run/netns/${space}`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#children.push(shuttle);
    await once(shuttle.stdout!, "data");
    const { address = addresses.guest, mac = this.taps.macOf(id) } = more;
    this.inside(
      space,
      `ip link set eth0 address ${mac} up; ip addr add ${address}/30 dev eth0
       ip addr add ${addresses.guest}/30 dev eth0 2>/dev/null
       ip route add default via ${addresses.gateway} src ${address}; ip link set lo up`,
    );
    return space;
  }

  async close(): Promise<void> {
    try {
      for (const id of this.#machines) await this.call("remove", id);
      // What it says of the computer's forwarding is said of this namespace's number, which another will have.
      this.host(FORGET_FORWARDING);
    } finally {
      for (const child of [...this.#children, this.#child]) child.kill("SIGKILL");
      for (const space of [...this.#spaces, this.#world]) spawnSync("ip", ["netns", "del", space]);
    }
  }

  #spawnHost(share?: Share): ChildProcess {
    const lab = new URL("./lab.ts", import.meta.url).pathname;
    const words = [
      "--disable-warning=ExperimentalWarning",
      lab,
      this.owner,
      ...(share ? [JSON.stringify(share)] : []),
    ];
    return spawn("unshare", ["--net", process.execPath, ...words], { stdio: ["pipe", "pipe", "inherit"] });
  }

  async #furnish(): Promise<void> {
    // An answer says that it is in its namespace.
    await this.call("list");
    // Its number was another's, who may have died without a word.
    this.host(FORGET_FORWARDING);
    execFileSync("ip", ["netns", "add", this.#world]);
    this.host(
      // A new namespace is as the computer is, and one that runs containers forwards.
      `echo 0 > /proc/sys/net/ipv4/ip_forward; ip link set lo up; ip link add out0 type veth peer name eth0; ip link set eth0 netns ${this.#world}
       ip addr add ${HOST_OUTSIDE}/30 dev out0; ip link set out0 up; ip route add default via ${WORLD}`,
    );
    this.world(
      `ip link set lo up; ip addr add ${WORLD}/30 dev eth0; ip link set eth0 up; ip route add default via ${HOST_OUTSIDE}
       for each in ${METADATA} ${PRIVATE}; do ip addr add $each/32 dev lo; done`,
    );
    this.listenInWorld("0.0.0.0");
  }

  #listen(enter: readonly string[], address: string, port = PORT): void {
    const words = ["perl", ...listenAt(address, port)];
    this.#children.push(spawn("nsenter", [...enter, ...words], { stdio: "ignore" }));
  }

  #run(into: readonly string[], command: string): string {
    const ran = spawnSync(into[0]!, [...into.slice(1), "sh", "-c", command], {
      encoding: "utf8",
      timeout: 30_000,
    });
    if (ran.error) throw ran.error;
    return ran.stdout;
  }
}
