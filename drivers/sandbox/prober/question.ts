// SPDX-License-Identifier: Apache-2.0
/** What the driver asks of the prober and what it gets back: JSON lines, one answer for each question. */

/** The process that holds directory descriptors, and their numbers. */
interface Held {
  pid: number;
  fds: number[];
}

export interface WatchQuestion extends Held {
  kind: "watch";
}

/**
 * The file systems of `fds`, in their order, of which the prober is told when nothing holds them any
 * more; `token` names who watches.
 */
export interface Watched {
  token: string;
  numbers: number[];
}

/** `watched` is null when they cannot be watched. */
export interface WatchAnswer {
  watched: Watched | null;
}

/** About a sandbox's first process, when it stands. */
export interface FirstQuestion {
  kind: "first";
  pid: number;
}

export interface FirstAnswer {
  /** Field 22 of /proc/<pid>/stat: of whom this is true. */
  pidStart: string;
  seccompMode: number;
  noNewPrivs: boolean;
  capabilitiesEffective: string;
  network: "none" | "other";
  /** Null: no limit. */
  coreLimitBytes: number | null;
}

export interface ReadBackQuestion extends Held {
  kind: "read-back";
  canaryHex: string;
}

export interface ReadBackAnswer {
  files: number;
  bytes: number;
  chunks: number;
  chunksNotZero: number;
  canaryFound: number;
  /** RFC 6962 root over the chunk digests; null when nothing was read. */
  zeroRoot: string | null;
  unreadable: number;
}

export interface ScanQuestion {
  kind: "scan";
  /** What its sockets could be called after. */
  names: string[];
  /** Inode by kind. */
  namespaces: Record<string, string>;
  /** `major:minor` of each tmpfs. */
  devices: string[];
  /**
   * The same file systems, watched since before they were let go; null when they are not. The driver must have
   * closed its own descriptors then: they would be holders like any other.
   */
  watched: Watched | null;
  /** Descriptors the driver itself still holds, on purpose: they keep the numbers above from being reused. */
  held: Held;
  /**
   * Set when nobody held the numbers above (recovery), so that they may be a stranger's by now. Only
   * what bears the machine's own uid counts then: its user namespace knows no other, so all its tasks
   * and files have it and its mounts name it.
   */
  ownerUid: number | null;
  cgroups: string[];
  canaryHex: string;
  folders: string[];
  logs: string[];
  /** When the canary was made (ms, wall clock): a file last changed before cannot hold it. Null: unknown. */
  canarySinceMs: number | null;
}

export interface ScanAnswer {
  tasks: number;
  /** Lines in any mountinfo, by device. */
  mounts: Record<string, number>;
  /** Descriptors, working folders, roots and mapped files on the device, by device. */
  descriptors: Record<string, number>;
  cgroups: number;
  sockets: number;
  folders: number;
  logs: number;
  /** Processes whose tables this prober was not allowed to read. */
  unreadable: number;
  /** Bytes of folders and logs beyond what is searched. */
  notSearched: number;
}

export interface SelfTestQuestion {
  kind: "self-test";
}

export interface SelfTestAnswer {
  processes: number;
  mounts: number;
}

export type Question = FirstQuestion | WatchQuestion | ReadBackQuestion | ScanQuestion | SelfTestQuestion;
export type Answer<Q extends Question> = Q extends FirstQuestion
  ? FirstAnswer
  : Q extends WatchQuestion
    ? WatchAnswer
    : Q extends ReadBackQuestion
      ? ReadBackAnswer
      : Q extends ScanQuestion
        ? ScanAnswer
        : SelfTestAnswer;
