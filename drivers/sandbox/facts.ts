// SPDX-License-Identifier: Apache-2.0
/**
 * Turns what was seen during one machine's end into steps 1, 2, 3, 5 and 6 of the proof. Each finding
 * belongs to exactly one step: a task to 1, a mount or descriptor to 2, bytes that are not zero to 3,
 * a uid or cgroup that stays to 5, a canary found anywhere else to 6. So a failed step says what failed.
 */
import type { Probe, Skipped, StepRecord } from "#evidence/proofs/document.ts";
import { digestText, probeRoot, salted } from "#evidence/proofs/hash.ts";
import type { EndFacts } from "../driver.ts";
import { observeHostMemory } from "./host-memory.ts";
import type { ReadBackAnswer, ScanAnswer } from "./prober/question.ts";
import type { NamespaceKind, SandboxRecord } from "./record.ts";
import type { Wiped } from "./wipe.ts";

export interface Span {
  startedAt: Date;
  endedAt: Date;
  durationMs: number;
}

export async function timed<T>(work: () => Promise<T>): Promise<[T, Span]> {
  const startedAt = new Date();
  const from = performance.now();
  const result = await work();
  return [result, { startedAt, endedAt: new Date(), durationMs: Math.round(performance.now() - from) }];
}

export interface Seen {
  record: SandboxRecord;
  killMethod: string;
  emptyAfterMs: number | null;
  killed: Span;
  /** One for each tmpfs in order, or null when nothing could be overwritten. */
  wiped: Wiped[] | null;
  wiping: Span;
  readBack: ReadBackAnswer | null;
  scan: ScanAnswer;
  scanning: Span;
  uidReleased: boolean | null;
  slotsReleased: number;
  cgroupRemoved: boolean | null;
  lookupAbsent: boolean;
  releasing: Span;
  oom: boolean;
  /** Nothing of the start is known beyond what was planned, or this is another process than the one that started it. */
  recovered: boolean;
}

/** `a:b` of mountinfo as the one number stat gives. */
function deviceNumber(device: string): string {
  const [major = 0, minor = 0] = device.split(":").map(Number);
  const number = (BigInt(minor) & 0xffn) | (BigInt(major) << 8n) | ((BigInt(minor) & ~0xffn) << 12n);
  return String(number);
}

export function toFacts(seen: Seen): EndFacts {
  const { record, scan } = seen;
  const { saltHex, canaryHex, started } = record;
  const salt = (kind: string, value: string) => salted(saltHex, kind, value);
  const step = <M>(span: Span, ok: boolean, measured: M, skipped: Skipped[] = []): StepRecord<M> => ({
    ...span,
    ok,
    measured,
    skipped,
  });
  const partial: Skipped[] =
    scan.unreadable > 0
      ? [{ name: "processes", reason: `${scan.unreadable} processes of others could not be read` }]
      : [];
  const devices = started?.mounts.map(({ device }) => device) ?? [];

  const namespace = step(
    seen.killed,
    scan.tasks === 0,
    {
      canary_sha256: digestText(canaryHex),
      namespaces: Object.entries(started?.namespaces ?? {}).map(([kind, inode]) => ({
        kind: kind as NamespaceKind,
        inode: salt(`ns/${kind}`, inode),
      })),
      seccomp_mode: started?.seccompMode ?? null,
      no_new_privs: started?.noNewPrivs ?? null,
      capabilities_effective: started?.capabilitiesEffective ?? null,
      network_mode: started?.network ?? null,
      tasks_found: scan.tasks,
      kill_method: seen.killMethod,
      empty_after_ms: seen.emptyAfterMs,
    },
    partial,
  );

  const tmpfs = step(
    seen.scanning,
    devices.every((device) => scan.mounts[device] === 0 && scan.descriptors[device] === 0),
    {
      mounts: (started?.mounts ?? []).map((mount, index) => ({
        target: mount.target,
        // Without the machine's uid, which step 5 salts.
        options: mount.options.replace(/,?\b[ug]id=\d+/g, ""),
        size_bytes: mount.sizeBytes,
        files: seen.wiped?.[index]?.files ?? null,
        bytes: seen.wiped?.[index]?.bytes ?? null,
        mount_id: mount.mountId,
        st_dev: deviceNumber(mount.device),
        mountinfo_found: scan.mounts[mount.device] ?? null,
        open_fds_found: scan.descriptors[mount.device] ?? null,
      })),
    },
    partial,
  );

  const host = observeHostMemory();
  const sum = (of: (wiped: Wiped) => number) =>
    (seen.wiped ?? []).reduce((total, each) => total + of(each), 0);
  const readBackOk =
    seen.readBack === null ? null : seen.readBack.chunksNotZero === 0 && seen.readBack.unreadable === 0;
  const cleared =
    seen.wiped !== null && sum((each) => each.bytesSkipped) === 0 && sum((each) => each.skipped.length) === 0;
  const overwrite = step(
    seen.wiping,
    // After a crash nothing is claimed, so nothing is failed; the limit `overwrite_not_claimed` says it.
    seen.recovered ? true : cleared && readBackOk === true,
    {
      passes: seen.wiped === null ? 0 : 1,
      files_overwritten: sum((each) => each.filesOverwritten),
      bytes_overwritten: sum((each) => each.bytesOverwritten),
      bytes_skipped: sum((each) => each.bytesSkipped),
      read_back_ok: readBackOk,
      swap_devices: host.swapDevices,
      noswap:
        (started?.mounts ?? []).length > 0 &&
        started!.mounts.every((mount) => /\bnoswap\b/.test(mount.options)),
      zswap: host.zswap,
      init_on_free: host.initOnFree,
      core_limit_bytes: started?.coreLimitBytes ?? null,
    },
    (seen.wiped ?? []).flatMap((each) => each.skipped).slice(0, 32),
  );

  const identity = step(
    seen.releasing,
    seen.uidReleased !== false && seen.cgroupRemoved !== false && seen.lookupAbsent,
    {
      // The driver gives a machine none. Whether control lent it a key is asked of control.
      tokens_released: 0,
      uid: record.uid === null ? null : salt("uid", String(record.uid)),
      uid_released: seen.uidReleased,
      cgroup_removed: seen.cgroupRemoved,
      slots_released: seen.slotsReleased,
      lookup_absent: seen.lookupAbsent,
    },
    [{ name: "account_keys", reason: "not the session's own: they open its account still" }],
  );

  const probe = (name: string, found: number): Probe => ({
    name,
    expected: "0 found",
    observed: `${found} found`,
    ok: found === 0,
  });
  const probes: Probe[] = [
    probe("unix sockets bearing the session's mark", scan.sockets),
    probe("canary in spool folders", scan.folders),
    probe("canary in logs", scan.logs),
    ...(seen.readBack === null ? [] : [probe("canary in the files read back", seen.readBack.canaryFound)]),
  ];
  const forensic = step(
    seen.scanning,
    probes.every(({ ok }) => ok),
    {
      zero_root: seen.readBack?.zeroRoot ?? null,
      zero_chunks: seen.readBack?.chunks ?? 0,
      chunk_bytes: 1048576 as const,
      probe_root: probeRoot(probes),
      probes,
    },
    scan.notSearched > 0
      ? [{ name: "traces", reason: `${scan.notSearched} bytes of logs and spools beyond the search bound` }]
      : [],
  );

  const limits = ["freed_pages_not_zeroed", "host_kernel_trusted"];
  limits.push(seen.wiped === null ? "overwrite_not_claimed" : "single_pass");
  if (record.rootDigest === null) limits.push("host_root_shared");
  if (record.uid === null) limits.push("shared_uid");
  if (record.cgroups.length === 0) limits.push("no_cgroup");
  if (started?.network === undefined || started.coreLimitBytes === undefined) limits.push("start_facts_lost");
  return {
    saltHex,
    canaryHex,
    steps: { namespace, tmpfs, overwrite, identity, forensic },
    limits,
    rootDigest: record.rootDigest,
    oom: seen.oom,
  };
}
