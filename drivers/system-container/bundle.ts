// SPDX-License-Identifier: Apache-2.0
/**
 * What the runtime is told of a system container, in the words of the OCI (runtime-spec, config.md). The attacker is root inside, who
 * looks for a way to the host or to other containers:
 *
 *  A. Root inside is nobody outside: a range of users that no other container has.
 *  B. Of root's rights there are those that a server for logins, a package manager and services need. None concerns the
 *     kernel, devices, mounts or the network, which is the host's and was made before (qemu/network/taps.ts).
 *     CAP_SYS_ADMIN is the agent's for the machine's name, and given up by it for good before anybody is let in.
 *  C. Calls that sessions may not make (confine/syscalls.ts), containers may not either, but for looking at processes of their own.
 *     No new namespaces, which would give rights back; no sockets but those of the three common families and the kernel's questions.
 *  D. It has its own tables of processes, mounts, names and messages. Of /sys it sees nothing, since that is the host's.
 */
import { DENIED, EAFNOSUPPORT, EPERM } from "#confine/syscalls.ts";
import { processMark } from "../docker/marks.ts";

export const USERS = 65_536;

export interface BundleAsk {
  owner: string;
  machineId: string;
  root: string;
  launchSha256: string;
  firstUid: number;
  memoryMiB: number;
  cpuMillis: number;
  pidsMax: number;
  /** Path of its namespace. */
  network: string;
}

/** Below it in every hierarchy of this computer. */
export const cgroupOf = (owner: string, machineId: string) => `/casemate/${owner}/${machineId}`;

const MIB = 2 ** 20;
const PERIOD_US = 100_000;

/** B. CHOWN to SETPCAP are what packages and sshd use to become somebody else; SYS_CHROOT is sshd's own wall. */
const KEPT = [
  ...["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"],
  ...["CAP_SETPCAP", "CAP_SYS_CHROOT", "CAP_SETFCAP"],
];
const AT_FIRST = [...KEPT, "CAP_SYS_ADMIN"];

/** C. A container has processes of its own to look at; that is refused to sessions for a reason of theirs. */
const OWN_TO_LOOK_AT = new Set([
  "ptrace",
  "process_vm_readv",
  "process_vm_writev",
  "pidfd_getfd",
  "process_madvise",
]);
const NEW_NAMESPACES = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000];
/** UNIX, INET, INET6, NETLINK; all others between and above are refused. A vsock leads out of a virtual machine that the host may be. */
const FAMILIES = new Set([1, 2, 10, 16]);
const FAMILY_LAST = 16;
const TIOCSTI = 0x5412;

export function bundleOf(ask: BundleAsk): object {
  const mapping = [{ containerID: 0, hostID: ask.firstUid, size: USERS }];
  const memory = ask.memoryMiB * MIB;
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ["/usr/sbin/casemate-agent", "container", ask.launchSha256],
      env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", processMark(ask.owner, ask.machineId)],
      cwd: "/",
      noNewPrivileges: true,
      capabilities: { bounding: AT_FIRST, effective: AT_FIRST, permitted: AT_FIRST },
      rlimits: [{ type: "RLIMIT_CORE", soft: 0, hard: 0 }],
    },
    root: { path: ask.root },
    hostname: "casemate",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "nodev", "noexec"] },
      memoryAt("/dev", "mode=755", "size=64k"),
      {
        ...{ destination: "/dev/pts", type: "devpts", source: "devpts" },
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
      },
      {
        destination: "/dev/mqueue",
        type: "mqueue",
        source: "mqueue",
        options: ["nosuid", "nodev", "noexec"],
      },
      memoryAt("/dev/shm", "mode=1777", "nodev", "noexec"),
      memoryAt("/run", "mode=755", "nodev"),
      memoryAt("/tmp", "mode=1777", "nodev"),
      // D
      memoryAt("/sys", "mode=555", "nodev", "noexec", "ro", "size=4k"),
    ],
    linux: {
      ...{ uidMappings: mapping, gidMappings: mapping },
      namespaces: [
        ...["pid", "user", "uts", "ipc", "mount", "cgroup"].map((type) => ({ type })),
        { type: "network", path: ask.network },
      ],
      cgroupsPath: cgroupOf(ask.owner, ask.machineId),
      resources: {
        devices: [{ allow: false, access: "rwm" }],
        memory: { limit: memory, swap: memory },
        cpu: { period: PERIOD_US, quota: Math.max(1_000, ask.cpuMillis * (PERIOD_US / 1_000)) },
        pids: { limit: ask.pidsMax },
      },
      maskedPaths: [
        "acpi",
        "asound",
        "kcore",
        "keys",
        "latency_stats",
        "timer_list",
        "scsi",
        "interrupts",
      ].map((name) => `/proc/${name}`),
      readonlyPaths: ["bus", "fs", "irq", "sys", "sysrq-trigger"].map((name) => `/proc/${name}`),
      seccomp: { defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64"], syscalls: refused() },
    },
  };
}

const memoryAt = (destination: string, ...options: string[]) => ({
  ...{ destination, type: "tmpfs", source: "tmpfs", options: ["nosuid", ...options] },
});

/** C */
function refused(): object[] {
  const refusal = (names: string[], errnoRet: number, arg?: object) => ({
    ...{ names, action: "SCMP_ACT_ERRNO", errnoRet, ...(arg && { args: [arg] }) },
  });
  const calls = DENIED.filter(({ name }) => !OWN_TO_LOOK_AT.has(name));
  const families = Array.from({ length: FAMILY_LAST }, (_, at) => at).filter(
    (family) => !FAMILIES.has(family),
  );
  return [
    // Names that the runtime's library is too old to know it passes over; the kernel's own checks are behind them.
    ...calls.map(({ name, errno }) => refusal([name], errno ?? EPERM)),
    ...NEW_NAMESPACES.map((bit) =>
      refusal(["clone"], EPERM, { index: 0, value: bit, valueTwo: bit, op: "SCMP_CMP_MASKED_EQ" }),
    ),
    ...families.map((family) =>
      refusal(["socket"], EAFNOSUPPORT, { index: 0, value: family, op: "SCMP_CMP_EQ" }),
    ),
    refusal(["socket"], EAFNOSUPPORT, { index: 0, value: FAMILY_LAST, op: "SCMP_CMP_GT" }),
    refusal(["ioctl"], EPERM, { index: 1, value: TIOCSTI, op: "SCMP_CMP_EQ" }),
  ];
}
