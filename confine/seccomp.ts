// SPDX-License-Identifier: Apache-2.0
/**
 * Assembles the one seccomp filter of a session: classic BPF over `struct seccomp_data`
 * { nr @0, arch @4, instruction pointer @8, args[6] @16 }, little endian on both machines. The same
 * bytes go to bubblewrap for the first process and to the entry program for every later one.
 *
 * Each rule is `if nr == N { body }` where every path of the body returns, so jumps stay inside one
 * rule and far below the 255 an instruction can skip. The kernel keeps a bitmap of calls that are
 * allowed whatever their arguments, so the length of the list costs the ordinary call nothing.
 */
import { CHECKED, DENIED, EAFNOSUPPORT, ENOSYS, EPERM, FORKS, type Machine } from "./syscalls.ts";

type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

const load = (offset: number): Instruction => [0x20, 0, 0, offset]; // BPF_LD | BPF_W | BPF_ABS
const and = (mask: number): Instruction => [0x54, 0, 0, mask]; // BPF_ALU | BPF_AND | BPF_K
const ifEqual = (k: number, jumpTrue: number, jumpFalse: number): Instruction => [
  0x15,
  jumpTrue,
  jumpFalse,
  k,
];
const ifAtLeast = (k: number, jumpTrue: number, jumpFalse: number): Instruction => [
  0x35,
  jumpTrue,
  jumpFalse,
  k,
];
const give = (value: number): Instruction => [0x06, 0, 0, value >>> 0];

const allow = give(0x7fff0000);
const kill = give(0x80000000); // the whole process, not the thread
const refuse = (errno: number) => give(0x00050000 | errno);

const NR = 0;
const ARCH = 4;
const arg = (index: number) => 16 + 8 * index; // low half

const AUDIT_ARCH: Record<Machine, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
const X32_BIT = 0x40000000;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const CLONE_NEW = 0x7e020000;
const CLONE_THREAD = 0x00010000;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const SOCK_PACKET = 10;
const RLIMIT_CORE = 4;
const TIOCSTI = 0x5412; // types into the terminal of whoever started us
const TIOCLINUX = 0x541c;

const BODIES: Record<keyof typeof CHECKED, readonly Instruction[]> = {
  clone: [load(arg(0)), and(CLONE_NEW), ifEqual(0, 0, 1), allow, refuse(EPERM)],
  // Only the low half is compared: the kernel takes `int family`. SOCK_NONBLOCK and SOCK_CLOEXEC are masked off.
  socket: [
    load(arg(0)),
    ifEqual(AF_UNIX, 3, 0),
    ifEqual(AF_INET, 2, 0),
    ifEqual(AF_INET6, 1, 0),
    refuse(EAFNOSUPPORT),
    load(arg(1)),
    and(0xf),
    ifEqual(SOCK_RAW, 2, 0),
    ifEqual(SOCK_PACKET, 1, 0),
    allow,
    refuse(EPERM),
  ],
  ioctl: [load(arg(1)), ifEqual(TIOCSTI, 2, 0), ifEqual(TIOCLINUX, 1, 0), allow, refuse(EPERM)],
  // Answered with success and not done: `ulimit -c 0` is common in scripts, and why the limit must stay is in rlimits.ts.
  setrlimit: [load(arg(0)), ifEqual(RLIMIT_CORE, 0, 1), refuse(0), allow],
  prlimit64: [
    load(arg(1)),
    ifEqual(RLIMIT_CORE, 0, 4), // reading it is allowed: the new limit is a null pointer then, in both halves
    load(arg(2)),
    ifEqual(0, 0, 3),
    load(arg(2) + 4),
    ifEqual(0, 0, 1),
    allow,
    refuse(0),
  ],
  // 0 is PER_LINUX, all ones asks what is set; the rest turn off randomisation or emulate old systems.
  personality: [load(arg(0)), ifEqual(0, 1, 0), ifEqual(0xffffffff, 0, 1), allow, refuse(EPERM)],
};

export interface FilterOptions {
  /** True for one program that is never to become two: its limits are those of one process. */
  threadsOnly?: boolean;
}

/** The filter as the kernel's `struct sock_filter[]`. */
export function assembleFilter(machine: Machine, { threadsOnly = false }: FilterOptions = {}): Buffer {
  const program: Instruction[] = [load(ARCH), ifEqual(AUDIT_ARCH[machine], 1, 0), kill, load(NR)];
  // The x32 twin of every call has its own number, so a list of 64-bit numbers would not meet it.
  if (machine === "x64") program.push(ifAtLeast(X32_BIT, 0, 1), refuse(ENOSYS));
  // Afterwards the number is loaded again: the rules below judge it, and the namespaces of a thread's flags.
  if (threadsOnly) {
    const body = [load(arg(0)), and(CLONE_THREAD), ifEqual(0, 0, 1), refuse(EPERM), load(NR)];
    program.push(ifEqual(CHECKED.clone[machine], 0, body.length), ...body);
  }
  for (const call of threadsOnly ? [...DENIED, ...FORKS] : DENIED) {
    if (call[machine] < 0) continue;
    program.push(ifEqual(call[machine], 0, 1), refuse(call.errno ?? EPERM));
  }
  for (const name of Object.keys(BODIES) as (keyof typeof BODIES)[]) {
    const body = BODIES[name];
    program.push(ifEqual(CHECKED[name][machine], 0, body.length), ...body);
  }
  program.push(allow);

  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, [code, jumpTrue, jumpFalse, k]] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(jumpTrue, index * 8 + 2);
    bytes.writeUInt8(jumpFalse, index * 8 + 3);
    bytes.writeUInt32LE(k >>> 0, index * 8 + 4);
  }
  return bytes;
}
