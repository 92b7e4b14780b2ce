// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { describeWith, root } from "#testing/requirements.ts";
import { startTime } from "../process-table.ts";
import { readFirst } from "./first.ts";

const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
});

/** A process that has done what `script` says and then waits. */
async function process1(command: string, ...args: string[]): Promise<number> {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  running.push(child);
  await new Promise((resolve, reject) => {
    child.stdout!.once("data", resolve);
    child.once("exit", () => reject(new Error(`${command} ended`)));
  });
  return child.pid!;
}

const WAIT = "echo up; read line";
const about = (pid: number) => readFirst({ kind: "first", pid });

test("what is not confined is not called so", async () => {
  const pid = await process1("sh", "-c", `ulimit -S -c 0; ${WAIT}`);
  expect(about(pid)).toMatchObject({ pidStart: startTime(pid), seccompMode: 0, noNewPrivs: false });
});

test("the core limit is the one a process can raise its own to", async () => {
  // In units of 512 bytes.
  const pid = await process1("sh", "-c", `ulimit -H -c 4; ulimit -S -c 0; ${WAIT}`);
  expect(about(pid).coreLimitBytes).toBe(2048);
});

test("a process that ended is no process without a network", async () => {
  const pid = await process1("sh", "-c", WAIT);
  const [child] = running.splice(0);
  const ended = new Promise((resolve) => child!.once("exit", resolve));
  child!.kill("SIGKILL");
  await ended;
  expect(() => about(pid)).toThrow("it ended");
});

const PERL_WAIT = '$| = 1; print "up\\n"; <STDIN>';
/** A network namespace of its own in which perl did this. */
const inside = (program: string) => process1("unshare", "--net", "perl", "-e", `${program}; ${PERL_WAIT}`);

describeWith([root], "the network of a process", () => {
  /** SIOCSIFFLAGS: the loopback is up, and leads nowhere. */
  const UP = 'socket(S, 2, 2, 0); ioctl(S, 0x8914, my $up = pack("a16 s x22", "lo", 1)) or die "$!"';

  test("is none in an empty namespace, with its loopback down or up", async () => {
    expect(about(await inside("1")).network).toBe("none");
    expect(about(await inside(UP)).network).toBe("none");
  });

  test("is another where a route leads anywhere", async () => {
    // SIOCADDRT with a struct rtentry: 192.0.2.0/24 is reached through `lo`.
    const route = `
      my ($to, $via, $mask) = map { pack('S n C4 x8', 2, 0, @$_) } [192, 0, 2, 0], [0, 0, 0, 0], [255, 255, 255, 0];
      my $entry = pack('x8 a16 a16 a16 S x22 s x6 P x24', $to, $via, $mask, 1, 0, my $name = "lo\\0");
      ioctl(S, 0x890b, $entry) or die "route: $!"`;
    expect(about(await inside(`${UP}; ${route}`)).network).toBe("other");
  });
});

const tun = { met: existsSync("/dev/net/tun"), reason: "this kernel has no /dev/net/tun" };
describeWith([root, tun], "an interface that is not the loopback", () => {
  test("is a network, also before anything is routed to it", async () => {
    // TUNSETIFF: a tap of the namespace's own.
    const tap = `open(T, '+<', '/dev/net/tun') or die; ioctl(T, 0x400454ca, my $tap = pack('a16 S x22', 'tap9', 0x1002)) or die "$!"`;
    expect(about(await inside(tap)).network).toBe("other");
  });
});
