// SPDX-License-Identifier: Apache-2.0
/** A virtual machine with a network of its own, on a host in a namespace; and what a kill of the host leaves of it at each step. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { makeSmallGuest, type SmallGuest, smallGuest } from "#testing/small-guest.ts";
import { askPath, KEPT_SPEC } from "../conformance/kept-machine.ts";
import { newMachineId } from "../conformance/machine.ts";
import { Taps } from "./network/taps.ts";
import { FORGET_FORWARDING, listenAt, ownNetworks } from "./network/testing.ts";
import { openMachines, qemu, type TestMachines } from "./testing.ts";

const SPEC = {
  ...KEPT_SPEC,
  ...{ isolation: "vm" as const, cpuMillis: 1000, memoryMiB: 128 },
  kept: { diskMiB: 16, labels: {}, domains: [], egressLimitBytes: 1_000_000 },
};
const RANGE = "10.232.0.0/24";
const WORLD = "203.0.113.6";

describeWith([qemu, smallGuest, ownNetworks], "virtual machines with networks of their own", () => {
  let guest: SmallGuest;
  let bench: TestMachines;
  let id: string;
  let host: string;
  const children: ChildProcess[] = [];
  beforeAll(() => {
    guest = makeSmallGuest();
  });
  afterAll(() => guest?.[Symbol.dispose]());
  beforeEach(() => {
    bench = openMachines();
    id = newMachineId();
    host = `casemate-host-${randomBytes(3).toString("hex")}`;
    execFileSync("ip", ["netns", "add", host]);
    execFileSync("ip", ["-n", host, "link", "set", "lo", "up"]);
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    await run({ instead: "reap" });
    onHost(FORGET_FORWARDING);
    spawnSync("ip", ["netns", "del", host]);
    await bench.close();
  });

  const onHost = (command: string) =>
    spawnSync("nsenter", [`--net=/run/netns/${host}`, "sh", "-c", command], { encoding: "utf8" }).stdout;
  const start = (more: object) => {
    const ask = {
      boot: { kernel: guest.kernel, initrd: guest.initrd, line: "console=ttyS0 quiet panic=-1" },
      ...{ firmware: null, tpm: false, roots: [], scratchMiB: 8, publicPort: 80 },
      network: { doors: [], nameServers: { direct: [], door: null } },
    };
    const script = new URL("./crashing-host.ts", import.meta.url).pathname;
    const input = { options: bench.options, range: RANGE, machineId: id, spec: SPEC, ask, ...more };
    const child = spawn(
      "nsenter",
      [`--net=/run/netns/${host}`, process.execPath, script, JSON.stringify(input)],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    children.push(child);
    return child;
  };
  const said = async (child: ChildProcess, until: (line: string) => boolean) => {
    for await (const line of createInterface({ input: child.stdout! })) if (until(line)) return line;
    throw new Error("the host process ended early");
  };
  /** To its end; answers its last line. */
  const run = async (more: object) => {
    const child = start(more);
    const exited = once(child, "exit");
    const line = await said(child, () => true);
    await exited;
    return JSON.parse(line) as unknown;
  };
  const killed = async (child: ChildProcess) => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  };
  const traces = () => {
    const link = new Taps(bench.options.owner).linkOf(id);
    const names = execFileSync("ip", ["netns", "list"], { encoding: "utf8" });
    const lines = `${names}\n${onHost("nft list ruleset; ip -o link; iptables-save")}`.split("\n");
    return [...bench.traces(id), ...lines.filter((line) => line.includes(id) || line.includes(link))];
  };

  test("are reached by the host and reach nothing of it, and the next host process finds them with their rules", async () => {
    onHost(
      `ip link add out0 type veth peer name out1; ip link set out1 up; ip addr add ${WORLD}/30 dev out0; ip link set out0 up`,
    );
    const first = start({});
    const line = await said(first, (each) => each.startsWith("{"));
    const { host: address, port } = JSON.parse(line) as { host: string; port: number };
    expect(port).toBe(80);
    const fetching =
      "fetch(process.argv[1], { signal: AbortSignal.timeout(20000) }).then((a) => a.text()).then(console.log, () => {})";
    const ask = (command: string) =>
      onHost(`${process.execPath} -e '${fetching}' 'http://${address}:${port}${askPath(command)}'`).trimEnd();
    await expect.poll(() => ask("echo up")).toBe("up");
    const child = spawn("nsenter", [`--net=/run/netns/${host}`, "perl", ...listenAt("0.0.0.0", 7777)]);
    children.push(child);
    await expect.poll(() => onHost(`busybox nc -w 1 ${WORLD} 7777 </dev/null && echo yes`)).toMatch(/yes/);
    const gateway = ask("ip route").split(" ")[2]!;
    const look = [WORLD, gateway].map((each) => `nc -w 2 ${each} 7777 </dev/null && echo reached`).join("; ");
    expect(ask(`${look}; echo looked`)).toMatch(/looked$/);
    expect(ask(`${look}; echo looked`)).not.toMatch(/reached/);
    // Its QEMU is in the room with one wire, with no right and no other file of the host's network.
    const [pid] = bench.processes(id);
    const spaces = execFileSync("ip", ["netns", "identify", String(pid)], { encoding: "utf8" });
    expect(spaces).toContain(id);
    // While its host process is there, and while none is, whoever empties the rules opens nothing.
    const trying = `(while true; do ${look}; echo looked; sleep 1; done >/tried 2>&1) >/dev/null 2>&1 </dev/null & echo begun`;
    expect(ask(trying)).toMatch(/begun/);
    const looked = () => Number(ask("grep -c looked /tried") || 0);
    await expect.poll(looked, { timeout: 60_000 }).toBeGreaterThan(0);
    onHost("nft flush ruleset");
    expect(onHost("nft list tables")).not.toContain(id);
    await expect.poll(() => onHost("nft list tables"), { timeout: 60_000 }).toContain(id);
    await expect.poll(() => ask("echo up"), { timeout: 60_000 }).toBe("up");
    await killed(first);
    onHost("nft flush ruleset");
    expect(ask("echo up")).toBe("");
    const next = start({ instead: "hold" });
    expect(JSON.parse(await said(next, () => true))).toMatchObject({
      state: "running",
      endpoint: { host: address },
    });
    const before = looked();
    await expect.poll(looked, { timeout: 60_000 }).toBeGreaterThan(before + 1);
    expect(ask("cat /tried")).not.toMatch(/reached/);
    await killed(next);
    expect(await run({ instead: "reap" })).toBe(1);
    expect(traces()).toEqual([]);
  });

  test("with a limit are counted and cut over kills of their host, an emptied firewall and a start anew", async () => {
    const world = `${host}-w`;
    execFileSync("ip", ["netns", "add", world]);
    try {
      onHost(
        `ip link add out0 type veth peer name eth0 netns ${world}; ip addr add ${WORLD}/30 dev out0; ip link set out0 up`,
      );
      const outside = "203.0.113.5";
      for (const words of [
        `addr add ${outside}/30 dev eth0`,
        "link set eth0 up",
        `route add default via ${WORLD}`,
      ])
        execFileSync("ip", ["-n", world, ...words.split(" ")]);
      const listening = listenAt("0.0.0.0", 7777);
      children.push(
        spawn("nsenter", [`--net=/run/netns/${world}`, "perl", ...listening], { stdio: "ignore" }),
      );
      const first = start({});
      const { host: address } = JSON.parse(await said(first, (each) => each.startsWith("{"))) as {
        host: string;
      };
      const fetching =
        "fetch(process.argv[1], { signal: AbortSignal.timeout(15000) }).then((a) => a.text()).then(console.log, () => {})";
      const ask = (at: string, command: string) =>
        onHost(`${process.execPath} -e '${fetching}' 'http://${at}:80${askPath(command)}'`).trimEnd();
      /** Of the kernel's: what passed, and packets that met the limit. */
      const counted = () => {
        const said = JSON.parse(onHost("nft -j list counters") || '{"nftables":[]}') as {
          nftables: { counter?: { name: string; bytes: number; packets: number } }[];
        };
        const of = (name: string) => said.nftables.find(({ counter }) => counter?.name === name)?.counter;
        return { bytes: of("egress")?.bytes ?? -1, over: (of("over")?.packets ?? 0) > 0 };
      };
      const send = (at: string, bytes: number) =>
        ask(at, `head -c ${bytes} /dev/zero | timeout 6 nc -w 3 ${outside} 7777 >/dev/null 2>&1; echo sent`);
      await expect.poll(() => ask(address, "echo up"), { timeout: 60_000 }).toBe("up");
      const reached = () => ask(address, `nc -w 3 ${outside} 7777 </dev/null && echo reached`);
      await expect.poll(reached, { timeout: 60_000 }).toMatch(/reached/);
      send(address, 300_000);
      const before = counted();
      expect(before).toMatchObject({ bytes: expect.any(Number), over: false });
      expect(before.bytes).toBeGreaterThan(300_000);
      const file = `${bench.options.folder}/egress/${id}.json`;
      const onDisk = () => (JSON.parse(readFileSync(file, "utf8")) as { sentBytes: number }).sentBytes;
      await expect.poll(onDisk, { timeout: 30_000 }).toBeGreaterThanOrEqual(before.bytes);
      await killed(first);
      onHost("nft flush ruleset");
      const next = start({ instead: "hold" });
      expect(JSON.parse(await said(next, () => true))).toMatchObject({ state: "running" });
      expect(counted().bytes).toBeGreaterThanOrEqual(before.bytes);
      for (let times = 0; times < 4 && !counted().over; times++) send(address, 300_000);
      const cut = counted();
      expect(cut.over).toBe(true);
      expect(cut.bytes).toBeLessThan(1_000_000 + 200_000);
      // Whoever logs in comes by the same way as this, and the world is gone.
      await expect.poll(() => ask(address, "echo up"), { timeout: 60_000 }).toBe("up");
      expect(reached()).not.toMatch(/reached/);
      await killed(next);
      // Ended and started anew, with nothing in the kernel.
      const again = start({});
      const place = JSON.parse(await said(again, (each) => each.startsWith("{"))) as { host: string };
      await expect.poll(() => ask(place.host, "echo up"), { timeout: 60_000 }).toBe("up");
      expect(counted().bytes).toBeGreaterThanOrEqual(cut.bytes);
      const looked = ask(place.host, `nc -w 3 ${outside} 7777 </dev/null && echo reached; echo looked`);
      expect(looked).toMatch(/looked$/);
      expect(looked).not.toMatch(/reached/);
      await killed(again);
      expect(await run({ instead: "reap" })).toBe(1);
      expect(traces()).toEqual([]);
      expect(existsSync(file)).toBe(false);
    } finally {
      spawnSync("ip", ["netns", "del", world]);
    }
  });

  test.each(["record", "making the machine's network", "starting the virtual machine", "booting", "running"])(
    "of a host that is killed at '%s' nothing is left when what no host knows is removed",
    async (step) => {
      const child = start({ hold: step === "record" });
      await said(child, (line) => line === step);
      await killed(child);
      await run({ instead: "reap" });
      expect(traces()).toEqual([]);
    },
  );
});
