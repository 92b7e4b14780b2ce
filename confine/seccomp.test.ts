// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { assembleFilter } from "./seccomp.ts";
import { CHECKED, DENIED, FORKS, type Machine } from "./syscalls.ts";

const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const errno = (value: number) => 0x00050000 | value;
const ARCH: Record<Machine, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };

/** The kernel's interpreter for the five instructions the filter uses. */
function judge(filter: Buffer, nr: number, arch: number, args: bigint[] = []): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(nr, 0);
  data.writeUInt32LE(arch, 4);
  for (const [index, value] of args.entries()) data.writeBigUInt64LE(value, 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const [code, jumpTrue, jumpFalse, k] = [
      filter.readUInt16LE(at * 8),
      filter.readUInt8(at * 8 + 2),
      filter.readUInt8(at * 8 + 3),
      filter.readUInt32LE(at * 8 + 4),
    ];
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x15) at += accumulator === k ? jumpTrue : jumpFalse;
    else if (code === 0x35) at += accumulator >= k ? jumpTrue : jumpFalse;
    else if (code === 0x06) return k;
    else throw new Error(`instruction ${code.toString(16)}`);
  }
}

test.each(["x64", "arm64"] as const)(
  "on %s the filter refuses what the table names and nothing else",
  (machine) => {
    const filter = assembleFilter(machine);
    const named = new Map(DENIED.map((call) => [call[machine], errno(call.errno ?? 1)]));
    const checked = new Set(Object.values(CHECKED).map((call) => call[machine] as number));
    for (let nr = 0; nr < 600; nr++) {
      if (checked.has(nr)) continue;
      expect(judge(filter, nr, ARCH[machine]), `call ${nr}`).toBe(named.get(nr) ?? ALLOW);
    }
  },
);

test.each(["x64", "arm64"] as const)("on %s a call made for another architecture kills", (machine) => {
  for (const other of [0x40000003, ARCH[machine === "x64" ? "arm64" : "x64"], 0])
    expect(judge(assembleFilter(machine), 39, other)).toBe(KILL);
});

test("x32 numbers are refused whatever they name", () => {
  for (const nr of [0x40000000, 0x40000027, 0x40000200, 0xffffffff])
    expect(judge(assembleFilter("x64"), nr, ARCH.x64)).toBe(errno(38));
});

test.each(["x64", "arm64"] as const)("on %s arguments are judged by the bits the kernel reads", (machine) => {
  const filter = assembleFilter(machine);
  const of = (name: keyof typeof CHECKED, ...args: bigint[]) =>
    judge(filter, CHECKED[name][machine], ARCH[machine], args);
  expect(of("clone", 0x3d0f00n)).toBe(ALLOW); // pthread_create
  expect(of("clone", 0x10000011n)).toBe(errno(1));
  expect(of("socket", 1n, 0o2000001n)).toBe(ALLOW);
  expect(of("socket", 0xffff_ffff_0000_0010n, 3n)).toBe(errno(97));
  expect(of("socket", 2n, 0o2000003n)).toBe(errno(1));
  expect(of("ioctl", 0n, 0x1_0000_5412n)).toBe(errno(1));
  expect(of("ioctl", 0n, 0x5413n)).toBe(ALLOW);
  expect(of("personality", 0xffffffffn)).toBe(ALLOW);
  expect(of("personality", 0x40000n)).toBe(errno(1));
  expect(of("prlimit64", 0n, 4n, 0n)).toBe(ALLOW);
  expect(of("prlimit64", 0n, 4n, 0x7fff_0000_1000n)).toBe(errno(0));
  expect(of("prlimit64", 0n, 4n, 0x7fff_0000_0000n)).toBe(errno(0));
  expect(of("prlimit64", 0n, 7n, 0x7fff_0000_1000n)).toBe(ALLOW);
  expect(of("setrlimit", 4n)).toBe(errno(0));
  expect(of("setrlimit", 7n)).toBe(ALLOW);
});

test.each(["x64", "arm64"] as const)("on %s a program that may have threads only cannot fork", (machine) => {
  const filter = assembleFilter(machine, { threadsOnly: true });
  const clone = (flags: bigint) => judge(filter, CHECKED.clone[machine], ARCH[machine], [flags]);
  expect(clone(0x3d0f00n)).toBe(ALLOW); // pthread_create
  expect(clone(0x1200011n)).toBe(errno(1)); // fork of glibc
  expect(clone(0x10010000n)).toBe(errno(1)); // a thread in a new user namespace
  for (const { name, [machine]: nr } of FORKS.filter((call) => call[machine] >= 0))
    expect(judge(filter, nr, ARCH[machine]), name).toBe(errno(1));
});
