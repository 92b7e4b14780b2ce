// SPDX-License-Identifier: Apache-2.0
/** What a machine with a limit may send, counted and cut by the kernel; a namespace is in place of each guest. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { doorsOf } from "./doors.ts";
import type { Meter } from "./rules.ts";
import type { Metered, TapAsk } from "./taps.ts";
import { METADATA, NetworkLab, ownNetworks, PORT, WORLD } from "./testing.ts";

const DATA = 1000;
/** With the heads of IP and UDP. */
const PACKET = DATA + 28;
const DOOR = 4180;
const RATE = 16 * 1024;
const BURST = 128 * 1024;

const ask = (at: number, meter: Partial<Meter>, more: Partial<TapAsk> = {}): TapAsk => ({
  addresses: { gateway: `10.231.1.${at + 1}`, guest: `10.231.1.${at + 2}` },
  ...{ doors: [], dnsDoor: false, nameServers: [] },
  meter: { limitBytes: 1e9, sentBytes: 0, cut: false, ...meter },
  ...more,
});

describeWith([ownNetworks], "what a machine with a limit sends", () => {
  let lab: NetworkLab;
  beforeAll(async () => {
    lab = await NetworkLab.open();
  });
  afterAll(() => lab?.close());

  /**
   * Packets to a port of the world that nobody listens on: it counts them, and what it says of them is no egress. The socket is not
   * connected, or that would keep every second one from being sent.
   */
  const sending = (packets: number, to: string, bytes: number, pauseSeconds: number) =>
    `perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Proto => "udp") or die; my $to = pack_sockaddr_in(20001, inet_aton("${to}"));
     for (1..${packets}) { send($s, "x" x ${bytes}, 0, $to); select(undef, undef, undef, ${pauseSeconds}) }'`;
  const send = (space: string, packets: number, to = WORLD, bytes = DATA) =>
    lab.inside(space, sending(packets, to, bytes, 0.002));
  /** Its wire carries what it is given: nothing of it passes or counts so far. */
  const machine = async (asked: TapAsk): Promise<[id: string, space: string]> => {
    const [id, space] = await lab.machine(asked);
    const heard = async () => {
      send(space, 1, METADATA);
      return ((await lab.call("carried", id)) as { sentBytes: number }).sentBytes;
    };
    await expect.poll(heard, { timeout: 20_000 }).toBeGreaterThan(0);
    return [id, space];
  };
  const arrived = () =>
    Number(
      lab
        .world("cat /proc/net/snmp")
        .split("\n")
        .filter((line) => line.startsWith("Udp: "))[1]!
        .split(" ")[2],
    );
  const metered = async (id: string): Promise<Metered> =>
    new Map((await lab.call("metered")) as [string, Metered][]).get(id)!;
  test("is counted to the byte, and the packet that would be over the limit is the first that does not arrive", async () => {
    const [id, space] = await machine(ask(0, { limitBytes: 20 * PACKET + 500 }));
    const before = arrived();
    send(space, 7);
    expect(await metered(id)).toEqual({ sentBytes: 7 * PACKET, cut: false });
    send(space, 30);
    expect(await metered(id)).toEqual({ sentBytes: 20 * PACKET, cut: true });
    // Nor one that there would have been room for.
    send(space, 3, WORLD, 1);
    expect(await metered(id)).toEqual({ sentBytes: 20 * PACKET, cut: true });
    expect(arrived() - before).toBe(20);
  });

  test("is not counted where it goes nowhere", async () => {
    const [id, space] = await machine(ask(4, {}));
    send(space, 5, METADATA);
    send(space, 5, "10.231.1.5");
    expect(await metered(id)).toEqual({ sentBytes: 0, cut: false });
  });

  test("to whoever logs in is counted, and to doors is not", async () => {
    lab.listenOnHost("127.0.0.1", DOOR);
    const asked = ask(8, {}, { doors: [DOOR] });
    const [id, space] = await machine(asked);
    await lab.call("open", asked.addresses, doorsOf([`127.0.0.1:${DOOR}`], [`127.0.0.1:${DOOR}`]), null);
    const { gateway, guest } = asked.addresses;
    await expect.poll(() => lab.reachable(space, [`${gateway}:${DOOR}`])).toHaveLength(1);
    lab.inside(space, `head -c 50000 /dev/zero | busybox nc -w 1 ${gateway} ${DOOR} >/dev/null`);
    expect(await metered(id)).toEqual({ sentBytes: 0, cut: false });
    lab.listenInside(space);
    await expect.poll(() => lab.host(`busybox nc -w 1 ${guest} ${PORT} </dev/null`)).toMatch(/hello/);
    const before = (await metered(id)).sentBytes;
    lab.host(`head -c 100000 /dev/zero | busybox nc -w 1 ${guest} ${PORT} >/dev/null`);
    const sent = (await metered(id)).sentBytes - before;
    expect(sent).toBeGreaterThan(100_000);
    expect(sent).toBeLessThan(120_000);
  });

  test("over the limit leaves whoever logs in at the pace of reading, both ways, and the doors as they were", async () => {
    const asked = ask(12, { limitBytes: 3_000_000 }, { doors: [DOOR] });
    const [id, space] = await machine(asked);
    const { gateway, guest } = asked.addresses;
    lab.listenOnHost("127.0.0.1", DOOR);
    await lab.call("open", asked.addresses, doorsOf([`127.0.0.1:${DOOR}`], [`127.0.0.1:${DOOR}`]), null);
    lab.listenInside(space);
    /** What the host gets of two million bytes in so many seconds, and what it gets rid of. */
    const port = PORT + 1;
    const listening = `my $s = IO::Socket::INET->new(LocalPort => ${port}, Listen => 8, ReuseAddr => 1) or die "$!"; $SIG{CHLD} = $SIG{PIPE} = "IGNORE";
      while (my $c = $s->accept) { next if fork; sysread($c, my $w, 1); if ($w eq "g") { my $l = 2000000; while ($l) { $l -= syswrite($c, "x" x $l) || exit } exit }
      my $n = 0; while (my $r = sysread($c, my $b, 65536)) { $n += $r; syswrite($c, "$n\\n") } exit }`;
    lab.inside(space, `timeout 120 perl -MIO::Socket::INET -e '${listening}' >/dev/null 2>&1 </dev/null &`);
    const talk = (work: string) =>
      lab.host(
        `timeout 20 perl -MIO::Socket::INET -e 'my $c = IO::Socket::INET->new(PeerAddr => "${guest}", PeerPort => ${port}) or exit; ${work}'`,
      );
    const pulled = () =>
      Number(
        talk(
          'syswrite($c, "g"); my $n = 0; my $e = time + 8; while (time < $e) { my $v = ""; vec($v, fileno($c), 1) = 1; next unless select($v, undef, undef, 1); my $r = sysread($c, my $b, 65536); last unless $r; $n += $r } print $n',
        ),
      );
    const pushed = () =>
      Number(
        talk(
          '$SIG{PIPE} = "IGNORE"; $c->blocking(0); syswrite($c, "p"); my $l = 2000000; my ($t, $e) = ("", time + 8); while (time < $e) { my ($r, $w) = ("", ""); vec($r, fileno($c), 1) = 1; vec($w, fileno($c), 1) = 1 if $l; select($r, $w, undef, 1); if ($l && vec($w, fileno($c), 1)) { $l -= syswrite($c, "x" x ($l > 65536 ? 65536 : $l)) || 0 } if (vec($r, fileno($c), 1)) { my $n = sysread($c, my $b, 4096); last if defined $n && !$n; $t .= $b if $n } last if $t =~ /2000000/ } my @a = $t =~ /(\\d+)\\n/g; print $a[-1] // 0',
        ),
      );
    await expect.poll(pulled, { timeout: 20_000 }).toBe(2_000_000);
    expect(pushed()).toBe(2_000_000);
    send(space, 1100);
    expect((await metered(id)).cut).toBe(true);
    const [slow, slowly] = [pulled(), pushed()];
    for (const bytes of [slow, slowly]) {
      expect(bytes).toBeGreaterThan(BURST / 4);
      expect(bytes).toBeLessThan(BURST + 12 * RATE);
    }
    await expect
      .poll(() => lab.host(`busybox nc -w 2 ${guest} ${PORT} </dev/null`), { timeout: 20_000 })
      .toMatch(/hello/);
    expect(lab.reachable(space, [`${gateway}:${DOOR}`, `${WORLD}:${PORT}`])).toEqual([`${gateway}:${DOOR}`]);
    const through = `head -c 1000000 /dev/zero | busybox nc -w 2 ${gateway} ${DOOR} | wc -c`;
    expect(Number(lab.inside(space, through))).toBeGreaterThanOrEqual(1_000_000);
  }, 90_000);

  test("is cut for what began before as for what is new", async () => {
    const [, space] = await machine(ask(16, { limitBytes: 300_000 }));
    await expect.poll(() => lab.reachable(space, [`${WORLD}:${PORT}`])).toHaveLength(1);
    const carried = `head -c 2000000 /dev/zero | timeout 5 busybox nc ${WORLD} ${PORT} | wc -c`;
    expect(Number(lab.inside(space, carried))).toBeLessThan(300_000);
  });

  test("goes on being counted when rules are made anew, from whatever more is known of it", async () => {
    const asked = ask(20, { limitBytes: 30 * PACKET });
    const [id, space] = await machine(asked);
    send(space, 10);
    await lab.call("protect", id, asked);
    expect(await metered(id)).toEqual({ sentBytes: 10 * PACKET, cut: false });
    // Somebody emptied the firewall, and what was on disk is all that is known.
    lab.host("nft flush ruleset");
    const known = { limitBytes: 30 * PACKET, sentBytes: 9 * PACKET, cut: false };
    await lab.call("protect", id, { ...asked, meter: known });
    expect(await metered(id)).toEqual({ sentBytes: 9 * PACKET, cut: false });
    await lab.call("protect", id, { ...asked, meter: { ...known, sentBytes: 25 * PACKET } });
    send(space, 10);
    expect(await metered(id)).toEqual({ sentBytes: 30 * PACKET, cut: true });
    await lab.call("protect", id, asked);
    send(space, 10);
    expect(await metered(id)).toMatchObject({ sentBytes: 30 * PACKET });
  });

  test("stays cut over a start anew, however little was missing", async () => {
    const [id, space] = await machine(ask(24, { limitBytes: 30 * PACKET, sentBytes: PACKET, cut: true }));
    lab.listenInside(space);
    const before = arrived();
    send(space, 5);
    expect(await metered(id)).toEqual({ sentBytes: PACKET, cut: true });
    expect(await metered(id)).toEqual({ sentBytes: PACKET, cut: true });
    expect(arrived()).toBe(before);
    await expect
      .poll(() => lab.host(`busybox nc -w 2 10.231.1.26 ${PORT} </dev/null`), { timeout: 20_000 })
      .toMatch(/hello/);
  });

  test("passes no more while rules are made anew, be it forty times, than is counted", async () => {
    const asked = ask(28, {});
    const [id, space] = await machine(asked);
    const before = arrived();
    lab.inside(space, `(${sending(6_000, WORLD, DATA, 0.0005)}) >/dev/null 2>&1 </dev/null &`);
    for (let times = 0; times < 40; times++) await lab.call("protect", id, asked);
    let last = -1;
    await expect
      .poll(
        () => {
          const [was, now] = [last, arrived()];
          last = now;
          return was === now;
        },
        { timeout: 30_000, interval: 500 },
      )
      .toBe(true);
    const passed = arrived() - before;
    expect(passed).toBeGreaterThan(100);
    // One that was counted in the old rules may be lost on its way through the new ones.
    const { sentBytes } = await metered(id);
    expect(sentBytes).toBeGreaterThanOrEqual(passed * PACKET);
    expect(sentBytes).toBeLessThan((passed + 40) * PACKET);
  });
});
