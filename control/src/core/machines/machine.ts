// SPDX-License-Identifier: Apache-2.0
/** The noun of the waist, as control keeps it. */
import type { Selectable } from "kysely";
import type { Desired } from "#contract/link/machine.ts";
import type { Tables } from "../../database/tables.ts";

export type MachineRow = Selectable<Tables["machines"]>;
/** Of a row, what its host is told. */
export type MachineWish = Pick<
  MachineRow,
  "id" | "host_id" | "want" | "generation" | "incarnation" | "spec" | "expires_at" | "end_trigger"
>;
export type EndTrigger = Desired["trigger"];

/** What the host is to know of a machine. `now` is the database's clock, so hosts need no common one. */
export function toDesired(row: MachineWish, now: Date): Desired {
  return {
    machineId: row.id,
    generation: row.generation,
    want: row.want,
    ...(row.spec.kept === undefined ? {} : { incarnation: row.incarnation }),
    spec: row.spec,
    remainingMs: row.expires_at === null ? null : Math.max(0, row.expires_at.getTime() - now.getTime()),
    trigger: (row.end_trigger ?? "api") as EndTrigger,
  };
}
