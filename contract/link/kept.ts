// SPDX-License-Identifier: Apache-2.0
/** Trailers of streams about kept machines. */
import { type Static, Type } from "typebox";

export interface ContainerFacts {
  names: string[];
  image: string;
  imageId: string;
  /** created, running, restarting, exited, dead … as the engine says. */
  state: string;
}

export interface MachineStats {
  memory: { totalBytes: number; usedBytes: number };
  /** `usage` in percent of one cpu, `frequencyMhz` as the host's. */
  cpus: { name: string; usage: number; frequencyMhz: number }[];
  disks: { name: string; mountPoint: string; filesystem: string; sizeBytes: number; usedBytes: number }[];
}

/** What machines with a limit have sent in their lives, as their host counted, and since when they are cut (by the host's clock). */
export const EgressTold = Type.Array(
  Type.Object(
    {
      machineId: Type.String({ pattern: "^mach_[0-9a-f]{32}$" }),
      sentBytes: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
      cutAtMs: Type.Union([Type.Integer({ minimum: 0, maximum: 8_640_000_000_000_000 }), Type.Null()]),
    },
    { additionalProperties: false },
  ),
  { maxItems: 100_000 },
);
export type EgressFacts = Static<typeof EgressTold>[number];
