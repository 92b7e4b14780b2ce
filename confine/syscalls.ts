// SPDX-License-Identifier: Apache-2.0
/**
 * What a session's programs may not ask of the kernel. The attacker runs any program as an
 * unprivileged uid without capabilities in namespaces of its own; most of these calls would fail for
 * it anyway. They are refused here because each has been the way into kernel code that trusted its
 * caller, or undoes a property that a later claim in the proof rests on.
 *
 * A number of -1 says that the architecture has no such call. Numbers from 424 on are the same on both.
 */
export type Machine = "x64" | "arm64";

export interface Denied {
  name: string;
  x64: number;
  arm64: number;
  /** EPERM unless another errno keeps libc on a working path. */
  errno?: number;
}

export const EPERM = 1;
export const ENOSYS = 38;
export const EAFNOSUPPORT = 97;

const no = (name: string, x64: number, arm64: number, errno = EPERM): Denied => ({ name, x64, arm64, errno });
const both = (name: string, number: number, errno = EPERM): Denied => no(name, number, number, errno);

export const DENIED: readonly Denied[] = [
  // Reading or steering another process. Within one session it would also let a command rewrite the
  // entry process in the moment between its setresuid and its exec.
  no("ptrace", 101, 117),
  no("process_vm_readv", 310, 270),
  no("process_vm_writev", 311, 271),
  no("kcmp", 312, 272), // compares kernel pointers: an oracle for heap layout
  both("pidfd_getfd", 438), // takes descriptors out of another process
  both("process_madvise", 440),
  // Large interpreters in the kernel reachable without privilege.
  no("bpf", 321, 280),
  no("userfaultfd", 323, 282), // stops kernel copies half-way: the standard aid for races
  both("io_uring_setup", 425, ENOSYS), // runs other calls past this very filter
  both("io_uring_enter", 426, ENOSYS),
  both("io_uring_register", 427, ENOSYS),
  no("perf_event_open", 298, 241),
  // The keyring is not namespaced by uid map: a key would outlive the session.
  no("add_key", 248, 217),
  no("request_key", 249, 218),
  no("keyctl", 250, 219),
  // The mount tree is fixed when the session starts; step 2 counts on the list made then.
  no("mount", 165, 40),
  no("umount2", 166, 39),
  no("pivot_root", 155, 41),
  both("open_tree", 428),
  both("move_mount", 429),
  both("fsopen", 430),
  both("fsconfig", 431),
  both("fsmount", 432),
  both("fspick", 433),
  both("mount_setattr", 442),
  both("open_tree_attr", 467),
  // New namespaces give back capabilities, and with them most of the attack surface above.
  no("unshare", 272, 97),
  no("setns", 308, 268),
  both("clone3", 435, ENOSYS), // its flags are behind a pointer; libc falls back to clone, which is checked
  // Handles open files past the mount tree.
  no("name_to_handle_at", 303, 264),
  no("open_by_handle_at", 304, 265),
  // The machine itself.
  no("kexec_load", 246, 104),
  no("kexec_file_load", 320, 294),
  no("init_module", 175, 105),
  no("finit_module", 313, 273),
  no("delete_module", 176, 106),
  no("reboot", 169, 142),
  no("swapon", 167, 224),
  no("swapoff", 168, 225),
  no("syslog", 103, 116), // kernel addresses and other sessions' oom reports
  no("acct", 163, 89),
  no("quotactl", 179, 60),
  both("quotactl_fd", 443),
  no("settimeofday", 164, 170),
  no("clock_settime", 227, 112),
  no("adjtimex", 159, 171),
  no("clock_adjtime", 305, 266),
  no("iopl", 172, -1),
  no("ioperm", 173, -1),
  no("modify_ldt", 154, -1),
  no("uselib", 134, -1),
  no("lookup_dcookie", 212, 18),
  no("nfsservctl", 180, 42),
  no("vhangup", 153, 58),
  no("fanotify_init", 300, 262),
  no("memfd_secret", 447, 447), // pages no probe could ever read back
  no("move_pages", 279, 239),
  no("migrate_pages", 256, 238),
  no("mbind", 237, 235),
  no("set_mempolicy", 238, 237),
  // Memory outside every file system: it would hold bytes between commands that no probe counts.
  no("shmget", 29, 194),
  no("msgget", 68, 186),
  no("semget", 64, 190),
  no("mq_open", 240, 180),
  // The host's /usr is the same files in every session: a watch on it sees which programs the host and
  // other sessions open, and when. Tools fall back to polling.
  no("inotify_init", 253, -1, ENOSYS),
  no("inotify_init1", 294, 26, ENOSYS),
  // Gifts pages between processes; the source of several page-cache writes.
  no("vmsplice", 278, 75),
];

/** What makes a second process besides `clone`, which is judged by its flags. */
export const FORKS: readonly Denied[] = [no("fork", 57, -1), no("vfork", 58, -1)];

/** Calls allowed or refused by their arguments; the programs are in seccomp.ts. */
export const CHECKED = {
  clone: { x64: 56, arm64: 220 },
  socket: { x64: 41, arm64: 198 },
  ioctl: { x64: 16, arm64: 29 },
  personality: { x64: 135, arm64: 92 },
  setrlimit: { x64: 160, arm64: 164 },
  prlimit64: { x64: 302, arm64: 261 },
} as const;

/** Numbers the entry program calls by hand (enter.pl has no headers to take them from). */
export const ENTRY_CALLS = {
  x64: {
    setns: 308,
    prctl: 157,
    capset: 126,
    setresuid: 117,
    setresgid: 119,
    setgroups: 116,
    setsid: 112,
    prlimit64: 302,
    ioctl: 16,
    dup3: 292,
    close_range: 436,
  },
  arm64: {
    setns: 268,
    prctl: 167,
    capset: 91,
    setresuid: 147,
    setresgid: 149,
    setgroups: 159,
    setsid: 157,
    prlimit64: 261,
    ioctl: 29,
    dup3: 24,
    close_range: 436,
  },
} as const;

/** Numbers the prober's watch.pl calls by hand. */
export const WATCH_CALLS = {
  x64: { inotify_init1: 294, inotify_add_watch: 254, inotify_rm_watch: 255 },
  arm64: { inotify_init1: 26, inotify_add_watch: 27, inotify_rm_watch: 28 },
} as const;
