// SPDX-License-Identifier: Apache-2.0
/** The noun of the waist, as control keeps it. */
import type { Selectable } from "kysely";
import type { Desired } from "#contract/link/machine.ts";
import type { Tables } from "../../database/tables.ts";

export type MachineRow = Selectable<Tables["machines"]>;
/** Of a row, what its host is told. */
export type MachineWish = Pick<
  MachineRow,
  | "id"
  | "host_id"
  | "want"
  | "generation"
  | "incarnation"
  | "spec"
  | "expires_at"
  | "end_trigger"
  | "disk_host_id"
  | "carry"
>;
export type EndTrigger = Desired["trigger"];

/** Of a machine that was given to its first host just now. */
export const NEW = { expires_at: null, end_trigger: null, disk_host_id: null, carry: 0 } as const;

/** What the host is to know of a machine. `now` is the database's clock, so hosts need no common one. */
export function toDesired(row: MachineWish, now: Date): Desired {
  return {
    machineId: row.id,
    generation: row.generation,
    want: row.want,
    ...(row.spec.kept === undefined ? {} : { incarnation: row.incarnation }),
    spec: row.spec,
    ...(row.disk_host_id === null ? {} : { disk: { carry: row.carry } }),
    remainingMs: row.expires_at === null ? null : Math.max(0, row.expires_at.getTime() - now.getTime()),
    trigger: (row.end_trigger ?? "api") as EndTrigger,
  };
}

/** What a host is to know of a machine that it has no more: nothing of it is to be left there but a disk that is still to be fetched. */
export function toLeave(row: MachineWish, hostId: string): Desired {
  const hasDisk = row.disk_host_id === hostId && row.want !== "down";
  const want = hasDisk ? "halted" : "down";
  return toDesired({ ...row, want, disk_host_id: null, expires_at: null }, new Date());
}
