// SPDX-License-Identifier: Apache-2.0
/** Networks of virtual machines, with a namespace in place of each guest. */
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { newMachineId } from "../../conformance/machine.ts";
import { AddressPool } from "./addresses.ts";
import { doorsOf } from "./doors.ts";
import type { TapAsk } from "./taps.ts";
import { HOST_OUTSIDE, knockAt, METADATA, NetworkLab, ownNetworks, PORT, PRIVATE, WORLD } from "./testing.ts";

const ask = (at: number, more: Partial<TapAsk> = {}): TapAsk => ({
  addresses: { gateway: `10.231.0.${at + 1}`, guest: `10.231.0.${at + 2}` },
  ...{ doors: [], dnsDoor: false, nameServers: [] },
  ...more,
});

describeWith([ownNetworks], "networks of machines", () => {
  let lab: NetworkLab;
  beforeAll(async () => {
    lab = await NetworkLab.open();
  });
  afterAll(() => lab?.close());
  const to = (address: string, port = PORT) => `${address}:${port}`;

  test("E: a guest reaches the world, and nothing of the host, of other machines or of ranges inside", async () => {
    const [, one] = await lab.machine(ask(0));
    const [, two] = await lab.machine(ask(4));
    for (const address of ["127.0.0.1", HOST_OUTSIDE, "10.231.0.1", "10.231.0.5"]) lab.listenOnHost(address);
    lab.listenInside(two);
    lab.listenInside(one);
    await expect.poll(() => lab.reachable(one, [to(WORLD)])).toEqual([to(WORLD)]);
    const forbidden = [HOST_OUTSIDE, "10.231.0.1", "10.231.0.5", "10.231.0.6", METADATA, PRIVATE];
    // They do listen: the host, which may, reaches each.
    const fromHost = () =>
      lab.host(
        ["127.0.0.1", ...forbidden.slice(0, 4)]
          .map((each) => `busybox nc -w 1 ${each} ${PORT} </dev/null`)
          .join("; "),
      );
    await expect.poll(() => fromHost().match(/hello/g), { timeout: 20_000 }).toHaveLength(5);
    expect(
      lab.reachable(
        one,
        forbidden.map((each) => to(each)),
      ),
    ).toEqual([]);
    lab.host(`ip route add ${METADATA} via ${WORLD}; ip route add ${PRIVATE} via ${WORLD}`);
    expect(
      lab.reachable(
        one,
        [METADATA, PRIVATE].map((each) => to(each)),
      ),
    ).toEqual([]);
  });

  test("nobody is forwarded to a guest, and the host itself reaches it", async () => {
    const [, space] = await lab.machine(ask(8));
    lab.listenInside(space);
    await expect.poll(() => lab.host(`busybox nc -w 1 10.231.0.10 ${PORT} </dev/null`)).toMatch(/hello/);
    expect(lab.world(`busybox nc -w 1 10.231.0.10 ${PORT} </dev/null`)).toBe("");
  });

  test.each([
    ["another address", { address: "10.231.0.22" }],
    ["another card's address", { mac: "52:54:00:00:00:01" }],
  ])("what comes from %s than the machine's own goes nowhere", async (_what, spoof) => {
    const [id, space] = await lab.machine(ask(12), spoof);
    expect(lab.reachable(space, [to(WORLD)])).toEqual([]);
    expect(await lab.call("carried", id)).toMatchObject({ sentBytes: 0 });
    await lab.call("remove", id);
  });

  test("the host drops a spoofed address by itself where the guard in the namespace is gone", async () => {
    const [id, space] = await lab.machine(ask(16), { address: "10.231.0.22" });
    spawnSync("nsenter", [`--net=${lab.taps.namespaceOf(id)}`, "nft", "flush", "ruleset"]);
    lab.host(
      "ip route add 10.231.0.22 dev $(ip -o route get 10.231.0.18 | sed 's/.*dev \\([^ ]*\\).*/\\1/')",
    );
    expect(lab.reachable(space, [to(WORLD)])).toEqual([]);
    expect(await lab.call("carried", id)).toMatchObject({ sentBytes: 0 });
  });

  test("whoever empties the host's rules opens nothing, and machines reach the world again when their rules are back", async () => {
    const asked = ask(52, { nameServers: [PRIVATE] });
    const [id, space] = await lab.machine(asked);
    for (const address of [HOST_OUTSIDE, "10.231.0.53"]) lab.listenOnHost(address, 7779);
    lab.host(`ip route replace ${PRIVATE} via ${WORLD}`);
    lab.listenInside(space);
    const inside = [HOST_OUTSIDE, "10.231.0.53"].map((each) => to(each, 7779));
    const forbidden = [...inside, to(PRIVATE)];
    await expect.poll(() => lab.reachable(space, [to(WORLD)])).toEqual([to(WORLD)]);
    const listening = () => lab.host("ss -Hltn sport = 7779").trim().split("\n");
    await expect.poll(listening).toHaveLength(2);
    lab.host("nft flush ruleset; iptables -P FORWARD ACCEPT");
    expect(lab.reachable(space, [...forbidden, to(WORLD)])).toEqual([]);
    await lab.call("keep", id, asked);
    await expect.poll(() => lab.reachable(space, [to(WORLD)]), { timeout: 20_000 }).toEqual([to(WORLD)]);
    await expect.poll(() => lab.host(`busybox nc -w 1 10.231.0.54 ${PORT} </dev/null`)).toMatch(/hello/);
    expect(lab.reachable(space, forbidden)).toEqual([]);
    // Also against a neighbour of the host's, for whom nothing is forwarded.
    expect(lab.host("nft list tables")).toContain("casemate-forwarding");
    await lab.call("letGo");
  });

  test("a guest has no IPv6, not even on the wire", async () => {
    const [id, space] = await lab.machine(ask(20));
    expect(lab.host(`ip -6 -o addr show dev ${lab.taps.linkOf(id)}`)).toBe("");
    lab.inside(space, "ip -6 addr add fe80::1234/64 dev eth0 nodad; busybox ping6 -c 2 -W 1 ff02::1%eth0");
    const wire = spawnSync("nsenter", [
      `--net=${lab.taps.namespaceOf(id)}`,
      "cat",
      "/sys/class/net/up0/statistics/tx_packets",
    ]);
    expect(Number(wire.stdout)).toBeLessThanOrEqual(1);
  });

  test("doors lead where they were opened to, by TCP, and no others are there", async () => {
    lab.listenOnHost("127.0.0.1", 4180);
    lab.listenOnHost("127.0.0.1", 4181);
    const asked = ask(24, { doors: [4180] });
    const [, space] = await lab.machine(asked);
    await lab.call("open", asked.addresses, doorsOf(["127.0.0.1:4180"], ["127.0.0.1:4180"]), null);
    await expect.poll(() => lab.inside(space, "busybox nc -w 1 10.231.0.25 4180 </dev/null")).toBe("hello\n");
    expect(lab.reachable(space, ["10.231.0.25:4181", "10.231.0.25:53"])).toEqual([]);
  });

  test("a resolver on the host's loopback answers through its door, and a name server inside only for names", async () => {
    lab.resolveOnHost("127.0.0.53");
    const asked = ask(28, { dnsDoor: true, nameServers: [PRIVATE] });
    const [, space] = await lab.machine(asked);
    await lab.call("open", asked.addresses, [], "127.0.0.53");
    await expect
      .poll(() => lab.inside(space, "busybox nslookup name.test 10.231.0.29 2>&1"))
      .toMatch(/192\.0\.2\.7/);
    lab.host(`ip route replace ${PRIVATE} via ${WORLD}`);
    lab.listenInWorld(PRIVATE, 53);
    await expect.poll(() => lab.reachable(space, [to(PRIVATE, 53)])).toEqual([to(PRIVATE, 53)]);
    expect(lab.reachable(space, [to(PRIVATE)])).toEqual([]);
  });

  test("what goes over the wire is counted, and goes on being counted when rules are made anew", async () => {
    const asked = ask(32);
    const [id, space] = await lab.machine(asked);
    lab.listenInWorld("0.0.0.0", 7778);
    await expect.poll(() => lab.reachable(space, [to(WORLD, 7778)])).toHaveLength(1);
    lab.inside(space, `head -c 100000 /dev/zero | busybox nc -w 1 ${WORLD} 7778 >/dev/null`);
    const before = (await lab.call("carried", id)) as { sentBytes: number; receivedBytes: number };
    expect(before.sentBytes).toBeGreaterThan(100_000);
    expect(before.receivedBytes).toBeGreaterThan(100_000);
    await lab.call("protect", id, asked);
    const after = (await lab.call("carried", id)) as typeof before;
    expect(after.sentBytes).toBeGreaterThanOrEqual(before.sentBytes);
    expect(after.receivedBytes).toBeGreaterThanOrEqual(before.receivedBytes);
  });

  test("a firewall of the host's that forwards nothing, as Docker's, lets machines out and nobody in", async () => {
    lab.host("iptables -P FORWARD DROP; iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT");
    try {
      const asked = ask(36, { doors: [4180] });
      const [id, space] = await lab.machine(asked);
      lab.listenOnHost("10.231.0.37", 4180);
      await expect.poll(() => lab.reachable(space, [to(WORLD)])).toEqual([to(WORLD)]);
      await expect.poll(() => lab.reachable(space, ["10.231.0.37:4180"])).toHaveLength(1);
      expect(lab.host("iptables-save")).toContain(id);
      await lab.call("remove", id);
      expect(lab.host("iptables-save")).not.toContain(id);
    } finally {
      lab.host("iptables -P FORWARD ACCEPT; iptables -P INPUT ACCEPT");
    }
  });

  test("a host that forwarded nothing forwards nothing but machines' packets afterwards", async () => {
    await lab.machine(ask(40));
    const other = `ip netns add ${lab.owner}-x; ip link add x0 type veth peer name eth0 netns ${lab.owner}-x
      ip addr add 198.51.100.1/30 dev x0; ip link set x0 up; ip -n ${lab.owner}-x addr add 198.51.100.2/30 dev eth0
      ip -n ${lab.owner}-x link set eth0 up; ip -n ${lab.owner}-x route add default via 198.51.100.1`;
    try {
      lab.host(other);
      lab.listenOnHost("198.51.100.1");
      await expect.poll(() => lab.reachable(`${lab.owner}-x`, ["198.51.100.1:7777"])).toHaveLength(1);
      expect(lab.host("cat /proc/sys/net/ipv4/ip_forward")).toBe("1\n");
      expect(lab.reachable(`${lab.owner}-x`, [to(WORLD)])).toEqual([]);
      lab.host("nft delete table inet casemate-forwarding");
      // It was that, and nothing else.
      expect(lab.reachable(`${lab.owner}-x`, [to(WORLD)])).toEqual([to(WORLD)]);
    } finally {
      lab.host(`ip netns del ${lab.owner}-x`);
    }
  });

  test("everything is found by the machine's name and removed, whatever half of it there is", async () => {
    const traces = (id: string) =>
      [
        lab.host("nft list ruleset; ip -o link; iptables-save"),
        spawnSync("ip", ["netns", "list"], { encoding: "utf8" }).stdout,
      ]
        .join("\n")
        .split("\n")
        .filter((line) => line.includes(id) || line.includes(lab.taps.linkOf(id)));
    const whole = newMachineId();
    await lab.call("make", whole, ask(44));
    expect(traces(whole).length).toBeGreaterThan(4);
    const halves: [string, string][] = [
      [newMachineId(), "nft add table inet NAME"],
      [newMachineId(), "ip netns add NAME"],
      [newMachineId(), "ip netns add NAME; ip link add LINK type veth peer name up0 netns NAME"],
    ];
    for (const [id, half] of halves)
      lab.host(half.replaceAll("NAME", `casemate-${lab.owner}-${id}`).replace("LINK", lab.taps.linkOf(id)));
    expect(await lab.call("list")).toEqual(expect.arrayContaining([whole, ...halves.map(([id]) => id)]));
    for (const id of [whole, ...halves.map(([each]) => each)]) {
      await lab.call("remove", id);
      await lab.call("remove", id);
      expect(traces(id)).toEqual([]);
      expect(await lab.call("list")).not.toContain(id);
    }
    // Made over half of an earlier start.
    await lab.call("make", whole, ask(44));
    await lab.call("make", whole, ask(48));
    expect(lab.host("ip -o addr")).not.toContain("10.231.0.45/");
    await lab.call("remove", whole);
  });
});

describeWith([ownNetworks], "the host's table of connections", () => {
  const inTable = (lab: NetworkLab) => Number(lab.host("cat /proc/sys/net/netfilter/nf_conntrack_count"));

  test.each([
    ["that are new in a second", { max: 100_000, perSecond: 1, burst: 50 }],
    ["that live", { max: 50, perSecond: 100_000, burst: 100_000 }],
  ])(
    "has room for a machine's share of connections %s, whoever opens them, and the next machine's",
    async (_what, share) => {
      const lab = await NetworkLab.open(share);
      try {
        const [, space] = await lab.machine(ask(0));
        const [, next] = await lab.machine(ask(4));
        await expect.poll(() => lab.reachable(space, [`${WORLD}:${PORT}`])).toHaveLength(1);
        const before = inTable(lab);
        lab.inside(space, knockAt(WORLD, 2_000));
        const after = inTable(lab);
        expect(after - before).toBeGreaterThan(20);
        expect(after - before).toBeLessThan(500);
        // What strangers have the host open to it is its own share as well, and another one.
        lab.host(knockAt("10.231.0.2", 2_000));
        const both = inTable(lab);
        expect(both - after).toBeGreaterThan(20);
        expect(both - after).toBeLessThan(500);
        expect(lab.reachable(space, [`${WORLD}:${PORT}`])).toEqual([]);
        expect(lab.reachable(next, [`${WORLD}:${PORT}`])).toEqual([`${WORLD}:${PORT}`]);
      } finally {
        await lab.close();
      }
    },
  );
});

describeWith([ownNetworks], "forwarding of a computer", () => {
  const forwards = (lab: NetworkLab) => lab.host("cat /proc/sys/net/ipv4/ip_forward").trim();

  test("is turned off again with the last machine, if it was us who turned it on and nobody else can need it", async () => {
    const lab = await NetworkLab.open();
    try {
      expect(await lab.call("restoreForwarding")).toBeNull();
      const [id] = await lab.machine(ask(0));
      expect(await lab.call("restoreForwarding")).toMatchObject({ restored: false });
      await lab.call("remove", id);
      lab.host("ip link add docker0 type bridge; nft flush ruleset");
      expect(await lab.call("restoreForwarding")).toMatchObject({
        restored: false,
        why: expect.stringContaining("docker0"),
      });
      expect(forwards(lab)).toBe("1");
      lab.host("ip link del docker0");
      expect(await lab.call("restoreForwarding")).toMatchObject({ restored: true });
      expect(forwards(lab)).toBe("0");
      expect(lab.host("nft list tables")).toBe("");
      expect(await lab.call("restoreForwarding")).toBeNull();
      // Somebody else's, from here on.
      lab.host("echo 1 > /proc/sys/net/ipv4/ip_forward");
      const [other] = await lab.machine(ask(4));
      await lab.call("remove", other);
      expect(await lab.call("restoreForwarding")).toBeNull();
      expect(forwards(lab)).toBe("1");
    } finally {
      await lab.close();
    }
  });
});

test("no two machines have one address, and none has one of a network that is there", () => {
  const pool = new AddressPool("10.231.7.0/28");
  const used = new Set(["10.231.7.6"]);
  const taken = [pool.take(used), pool.take(used), pool.take(used)];
  expect(taken.map(({ guest }) => guest).sort()).toEqual(["10.231.7.10", "10.231.7.14", "10.231.7.2"]);
  expect(() => pool.take(used)).toThrow(/no address left/);
  pool.give(taken[1]!);
  expect(pool.take(used)).toEqual(taken[1]);
  expect(() => new AddressPool("127.0.0.0/28").take(new Set())).toThrow(/no address left/);
});

test.each(["10.231.0.0", "10.231.0.0/30", "10.256.0.0/16", "::/16", "10.0.0.0/4"])(
  "%s is no range",
  (range) => {
    expect(() => new AddressPool(range)).toThrow(TypeError);
  },
);

test("a door leads only where the operator says, whatever control asks for", () => {
  expect(doorsOf(["localhost:4180"], ["localhost:4180"])).toEqual([
    { port: 4180, to: { host: "127.0.0.1", port: 4180 } },
  ]);
  for (const asked of ["127.0.0.1:5432", "127.0.0.1:4180 ", "127.0.0.1", ""])
    expect(() => doorsOf([asked], ["127.0.0.1:4180"])).toThrow(/opens no door/);
});
