// SPDX-License-Identifier: Apache-2.0
/**
 * What is remembered of a machine, in two stages: `planned` is stored before anything exists, so that
 * a host killed at any later moment still knows the uid and the cgroups to look for; `started` is
 * stored when the first process stands, and adds what the proof says of the start. Of a sandbox that
 * was made ahead only the second is stored: until then there was no machine.
 */
import { type Static, Type } from "typebox";
import { Value } from "typebox/value";
import { DriverFault } from "../driver.ts";

export const NAMESPACE_KINDS = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"] as const;
export type NamespaceKind = (typeof NAMESPACE_KINDS)[number];

const Mount = Type.Object({
  target: Type.String(),
  options: Type.String(),
  sizeBytes: Type.Integer(),
  mountId: Type.String(),
  /** `major:minor` as in mountinfo. */
  device: Type.String(),
});

const Started = Type.Object({
  pid: Type.Integer(),
  /** Field 22 of /proc/<pid>/stat: with the boot id it tells this process from a later one of the same number. */
  pidStart: Type.String(),
  /** Inode of each namespace, decimal. */
  namespaces: Type.Record(Type.Enum([...NAMESPACE_KINDS]), Type.String()),
  mounts: Type.Array(Mount),
  seccompMode: Type.Integer(),
  noNewPrivs: Type.Boolean(),
  capabilitiesEffective: Type.String(),
  /** Missing in records of a host that did not read them yet. */
  network: Type.Optional(Type.Literal("none")),
  coreLimitBytes: Type.Optional(Type.Integer()),
});

export const SandboxRecord = Type.Object({
  v: Type.Literal(1),
  driver: Type.Literal("sandbox"),
  bootId: Type.String(),
  /** The host's uid of this machine alone, or null when it shares the driver's own. */
  uid: Type.Union([Type.Integer(), Type.Null()]),
  cgroups: Type.Array(Type.String()),
  saltHex: Type.String(),
  canaryHex: Type.String(),
  rootDigest: Type.Union([Type.String(), Type.Null()]),
  /** The id its sandbox was made under, which its cgroups and mark bear, when that is not the machine's own (spares.ts). */
  madeAs: Type.Optional(Type.String()),
  started: Type.Union([Started, Type.Null()]),
});

export type SandboxRecord = Static<typeof SandboxRecord>;
export type StartedFacts = Static<typeof Started>;
export type MountFacts = Static<typeof Mount>;

export function parseRecord(record: unknown): SandboxRecord {
  if (!Value.Check(SandboxRecord, record))
    throw new DriverFault("machine.record-unreadable", "the stored record is not one of this driver's");
  return record;
}
