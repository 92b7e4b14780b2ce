// SPDX-License-Identifier: Apache-2.0
/**
 * The destruction proof (CDP), profile `casemate-cdp/1`, as data: what each of its eight steps may
 * carry. The member set is closed at every depth, so a verifier refuses a member it does not know:
 * an attacker who can add an unsigned or unread field could otherwise make a proof say more than
 * was measured. Values are strings, booleans, null and integers 0…2^53−1; larger numbers (inodes,
 * st_dev, mount ids) travel as decimal strings, and no floats exist.
 */
import { type Static, type TSchema, Type } from "typebox";

const closed = <P extends Record<string, TSchema>>(properties: P) =>
  Type.Object(properties, { additionalProperties: false });
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

export const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/** A duration in whole milliseconds. */
const DurationMs = Count;
/** `sha256:` and 64 lower-case hex digits. */
export const Sha256Text = Type.String({ pattern: "^sha256:[0-9a-f]{64}$" });
/** HMAC-SHA-256 under the session's salt, so that a stranger cannot guess small values (inodes, uids). */
export const SaltedText = Type.String({ pattern: "^hmac-sha256:[0-9a-f]{64}$" });
/** Whole seconds, UTC, no fraction. */
export const WireTime = Type.String({ pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$" });
export const DecimalText = Type.String({ pattern: "^(0|[1-9][0-9]{0,39})$" });
const Words = Type.String({ minLength: 1, maxLength: 256 });

/** Something a step could not measure, and why. Its absence must never read as success. */
export const Skipped = closed({ name: Words, reason: Words });

export const Limit = Type.Enum([
  "freed_pages_not_zeroed",
  "host_kernel_trusted",
  "api_process_copies",
  "single_pass",
  "signing_key_outlives_proof",
  "times_are_operator_claims",
  "host_root_shared",
  "shared_uid",
  "no_cgroup",
  "overwrite_not_claimed",
  "start_facts_lost",
]);

export const Trigger = Type.Enum(["api", "ttl", "oom", "shutdown", "recovery"]);

/** Fixed before step 1 begins; every link commits to its hash. */
export const Context = closed({
  cdp_version: Type.Literal("1.0"),
  profile: Type.Literal("casemate-cdp/1"),
  session_id: Type.String({ pattern: "^sess_[0-9a-f]{32}$" }),
  created_at: WireTime,
  data_classification: Words,
  jurisdiction: Words,
  /** Total seconds granted; null when the tier has no limit. */
  ttl_seconds: nullable(Count),
  trigger: Trigger,
  engine: closed({ name: Words, version: Words, build_sha256: Sha256Text }),
  host: closed({
    boot_id_hash: Sha256Text,
    kernel: Words,
    isolation: Words,
    /** Digest of the root template, or null for the host's own /usr (limit `host_root_shared`). */
    root_digest: nullable(Sha256Text),
  }),
  salt_id: Sha256Text,
  key_id: Words,
  public_key_sha256: Sha256Text,
  limits: Type.Array(Limit, { maxItems: 16, uniqueItems: true }),
});

/** Step 1: no task of the session runs. `null` members were lost to a crash (limit `start_facts_lost`). */
export const NamespaceMeasured = closed({
  canary_sha256: Sha256Text,
  namespaces: Type.Array(
    closed({
      kind: Type.Enum(["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"]),
      inode: SaltedText,
    }),
    { maxItems: 7 },
  ),
  /** /proc/<pid>/status `Seccomp`: 2 is a filter. */
  seccomp_mode: nullable(Count),
  no_new_privs: nullable(Type.Boolean()),
  /** /proc/<pid>/status `CapEff`, 16 hex digits. */
  capabilities_effective: nullable(Type.String({ pattern: "^[0-9a-f]{16}$" })),
  network_mode: nullable(Type.Union([Type.Literal("none"), Type.Literal("allow_list")])),
  tasks_found: nullable(Count),
  kill_method: Words,
  empty_after_ms: nullable(DurationMs),
});

/** Step 2: the session's file systems are unreachable. One entry per tmpfs. */
export const TmpfsMeasured = closed({
  mounts: Type.Array(
    closed({
      target: Words,
      options: Type.String({ maxLength: 1024 }),
      size_bytes: nullable(Count),
      files: nullable(Count),
      bytes: nullable(Count),
      mount_id: DecimalText,
      st_dev: DecimalText,
      /** Lines naming this mount's device in any task's mountinfo, after teardown. */
      mountinfo_found: nullable(Count),
      /** Descriptors open on this device in any process, after teardown. */
      open_fds_found: nullable(Count),
    }),
    { maxItems: 16 },
  ),
});

/** Step 3: the contents of files present at teardown were cleared. Freed pages are not claimed. */
export const OverwriteMeasured = closed({
  passes: Count,
  files_overwritten: Count,
  bytes_overwritten: Count,
  bytes_skipped: Count,
  read_back_ok: nullable(Type.Boolean()),
  swap_devices: nullable(Count),
  noswap: Type.Boolean(),
  zswap: nullable(Type.Boolean()),
  init_on_free: nullable(Type.Boolean()),
  /** Of process 1. 1 is as good as 0, and better where cores go to a program. */
  core_limit_bytes: nullable(Count),
});

/** Step 4: the session's data keys were released. */
export const KeysMeasured = closed({
  data_keys: Type.Array(
    closed({
      purpose: Words,
      strength_bits: Count,
      wipe_method: Words,
      /** The buffer read back as zeros after the wipe; null when it died with its process. */
      wiped: nullable(Type.Boolean()),
    }),
    { maxItems: 16 },
  ),
});

/** Step 5: what the session was known by no longer works. Null where the run had no such thing. */
export const IdentityMeasured = closed({
  tokens_released: Count,
  uid: nullable(SaltedText),
  uid_released: nullable(Type.Boolean()),
  cgroup_removed: nullable(Type.Boolean()),
  slots_released: Count,
  lookup_absent: Type.Boolean(),
});

/** `ok` only where `observed` is exactly `expected`; the builder and the verifier both hold it to that. */
export const Probe = closed({
  name: Words,
  expected: Words,
  observed: Words,
  ok: Type.Boolean(),
});

/** Step 6: nothing was found by these probes. */
export const ForensicMeasured = closed({
  /** RFC 6962 root over SHA-256 digests of 1 MiB read-back chunks in file order; null when none was read. */
  zero_root: nullable(Sha256Text),
  zero_chunks: Count,
  chunk_bytes: Type.Literal(1048576),
  /** RFC 6962 root over JCS of each probe in order. */
  probe_root: Sha256Text,
  probes: Type.Array(Probe, { minItems: 1, maxItems: 64 }),
});

/** Step 7: the order of the session's events is fixed. */
export const AuditMeasured = closed({
  event_head: Sha256Text,
  event_count: Count,
  /** evidence_hash of steps 1–6, in order. */
  evidence_hashes: Type.Array(Sha256Text, { minItems: 6, maxItems: 6 }),
  /** Null while there is no transparency log. */
  transparency_log_size: nullable(Count),
});

/** Step 8: the end state. */
export const CompletionMeasured = closed({
  end_state: Type.Enum(["destroyed", "expired", "expired_unclean"]),
  /** End of the last probe of steps 1–6. */
  destroyed_at: WireTime,
  outcome: Type.Union([Type.Literal("complete"), Type.Literal("incomplete")]),
  failed_steps: Type.Array(Type.Integer({ minimum: 1, maximum: 8 }), { maxItems: 8, uniqueItems: true }),
  /** Milliseconds of steps 1–7, in order. */
  step_ms: Type.Array(DurationMs, { minItems: 7, maxItems: 7 }),
  /** Set when a later process wrote this proof for a session it found dead. */
  recovered: nullable(closed({ boot_id_hash_before: Sha256Text, boot_id_hash_after: Sha256Text })),
});

export const MEASURED = [
  NamespaceMeasured,
  TmpfsMeasured,
  OverwriteMeasured,
  KeysMeasured,
  IdentityMeasured,
  ForensicMeasured,
  AuditMeasured,
  CompletionMeasured,
] as const;

const evidenceOf = <S extends number, M extends TSchema>(step: S, measured: M) =>
  closed({
    step: Type.Literal(step),
    started_at: WireTime,
    ended_at: WireTime,
    duration_ms: DurationMs,
    ok: Type.Boolean(),
    measured,
    skipped: Type.Array(Skipped, { maxItems: 32 }),
  });

export const Evidence = Type.Tuple([
  evidenceOf(1, NamespaceMeasured),
  evidenceOf(2, TmpfsMeasured),
  evidenceOf(3, OverwriteMeasured),
  evidenceOf(4, KeysMeasured),
  evidenceOf(5, IdentityMeasured),
  evidenceOf(6, ForensicMeasured),
  evidenceOf(7, AuditMeasured),
  evidenceOf(8, CompletionMeasured),
]);

const Base64Text = Type.String({ pattern: "^base64:[A-Za-z0-9+/]+={0,2}$", maxLength: 256 });

export const Certificate = closed({
  v: Type.Literal(1),
  issuer_id: Words,
  key_id: Words,
  public_key: Base64Text,
  session_id: Context.properties.session_id,
  not_before: WireTime,
  not_after: WireTime,
  sig: Base64Text,
});

export const ChainItem = closed({
  step: Type.Integer({ minimum: 1, maximum: 8 }),
  subsystem: Words,
  operation: Words,
  evidence_hash: Sha256Text,
  chain_hash: Sha256Text,
});

export const Cdp = closed({
  cdp_version: Type.Literal("1.0"),
  profile: Type.Literal("casemate-cdp/1"),
  session_id: Context.properties.session_id,
  created_at: WireTime,
  destroyed_at: WireTime,
  context: Context,
  evidence: Evidence,
  chain: Type.Array(ChainItem, { minItems: 8, maxItems: 8 }),
  final_hash: Sha256Text,
  attestation: closed({
    algorithm: Type.Literal("Ed25519"),
    public_key: Base64Text,
    signature: Base64Text,
    key_id: Words,
    certificate: Certificate,
  }),
});

export type Context = Static<typeof Context>;
export type Evidence = Static<typeof Evidence>;
export type Certificate = Static<typeof Certificate>;
export type Cdp = Static<typeof Cdp>;
export type Probe = Static<typeof Probe>;
export type Skipped = Static<typeof Skipped>;
export type Limit = Static<typeof Limit>;
export type Trigger = Static<typeof Trigger>;
export type NamespaceMeasured = Static<typeof NamespaceMeasured>;
export type TmpfsMeasured = Static<typeof TmpfsMeasured>;
export type OverwriteMeasured = Static<typeof OverwriteMeasured>;
export type KeysMeasured = Static<typeof KeysMeasured>;
export type IdentityMeasured = Static<typeof IdentityMeasured>;
export type ForensicMeasured = Static<typeof ForensicMeasured>;
export type AuditMeasured = Static<typeof AuditMeasured>;
export type CompletionMeasured = Static<typeof CompletionMeasured>;

/** One step as measured, before it is placed in the document. */
export interface StepRecord<M> {
  startedAt: Date;
  endedAt: Date;
  durationMs: number;
  ok: boolean;
  measured: M;
  skipped: Skipped[];
}
