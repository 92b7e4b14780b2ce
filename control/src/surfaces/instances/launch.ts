// SPDX-License-Identifier: Apache-2.0
/** What an instance's machine is started with. Nothing in it is one tenant's: every instance of an agent on an image is measured alike. */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { LaunchPayload } from "#contract/link/payload.ts";
import { type InstanceManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import type { InstancesConfig } from "./deps.ts";

export interface InstanceLaunch {
  manifest: Uint8Array;
  sha256: string;
}

export interface Launched {
  agent: string;
  /** Those that were made before there were any have none. */
  state_disk: boolean;
}
/** Of a row `m` of machines. */
export const HAS_STATE_DISK = sql`(m.spec->'kept'->>'diskMiB')::int > 0`;

/** Of the same row: its agent knows numbers of keys. Those of before there were disks do not, and would refuse a claim with one. */
export const KNOWS_NUMBERS = sql`(${HAS_STATE_DISK} or m.spec->>'isolation' = 'system-container')`;

export function launchOf({ agent, state_disk: stateDisk }: Launched): InstanceLaunch {
  const manifest: InstanceManifest = { v: 1, kind: "instance", agent, stateDisk };
  const bytes = manifestBytes(manifest);
  return { manifest: bytes, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** A door is a place of the host that the machine can reach; the host opens those alone that its operator listed. */
export const toLaunchPayload = (
  { manifest }: InstanceLaunch,
  image: string,
  doors: readonly string[],
  sent: NonNullable<LaunchPayload["sent"]>,
): LaunchPayload => ({
  ...{ kind: "launch", manifest: Buffer.from(manifest).toString("base64"), image, registries: [...doors] },
  // What control knows that it has sent: its host may have lost its count.
  ...((sent.sentBytes > 0 || sent.cut) && { sent }),
});

const PIDS_PER_CPU = 4096;

export function toMachineSpec(
  /** Null: nobody's yet. */
  about: { instance: string; account: string } | null,
  isolation: MachineSpec["isolation"],
  {
    cpus,
    memoryMiB,
    diskMiB,
    egressLimitBytes,
  }: Pick<InstancesConfig, "cpus" | "memoryMiB" | "diskMiB" | "egressLimitBytes">,
): MachineSpec {
  return {
    ...{ isolation, image: null, cpuMillis: cpus * 1000, memoryMiB, pidsMax: cpus * PIDS_PER_CPU },
    ...{ network: "own", endProof: null },
    kept: {
      // What is written in a system container lies in memory.
      diskMiB: isolation === "system-container" ? 0 : diskMiB,
      egressLimitBytes,
      labels:
        about === null
          ? { "casemate.spare": "instance" }
          : { "casemate.account": about.account, "casemate.instance": about.instance },
      domains: [],
    },
  };
}
