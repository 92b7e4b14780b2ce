// SPDX-License-Identifier: Apache-2.0
/**
 * What a host reports, made true in the database: one transaction a machine, under its row lock.
 *
 *  A. Only the transition table changes `state`; a report about an older generation or a machine that
 *     is over changes nothing and is still acknowledged, or the host would repeat it for ever.
 *  B. A report counts only from the host that the machine was given to: a host that was broken into
 *     can lie about its own machines and about no others.
 *  C. What the change means to a surface happens in the same transaction (`reactions`).
 */
import { sql } from "kysely";
import type { Observation } from "#contract/link/machine.ts";
import type { Database, Tx } from "../../database/open.ts";
import type { MachineRow } from "./machine.ts";
import { type MachineState, nextState } from "./transitions.ts";

export type Ended = NonNullable<Observation["ended"]>;

/** A surface's part of a change. Each is called inside the transaction. */
export interface Reactions {
  running(tx: Tx, machine: MachineRow): Promise<void>;
  ended(tx: Tx, machine: MachineRow, ended: Ended): Promise<void>;
  /** The machine is over and no proof will come. `started`: it had been seen running. */
  failed(tx: Tx, machine: MachineRow, started: boolean): Promise<void>;
}

export interface Observed {
  machineId: string;
  state: MachineState;
}

export async function observe(
  db: Database,
  reactions: Reactions,
  hostId: string,
  observation: Observation,
): Promise<Observed | null> {
  return db.write(async (tx) => {
    const machine = await tx
      .selectFrom("machines")
      .selectAll()
      .where("id", "=", observation.machineId)
      .where("host_id", "=", hostId)
      .forUpdate()
      .executeTakeFirst();
    if (machine === undefined) return null;
    if (observation.generation > machine.generation) return null;
    const state = nextState(machine.state as MachineState, observation.state);
    const seen = Math.max(machine.observed_generation, observation.generation);
    if (state === null) {
      if (seen > machine.observed_generation) await note(tx, machine.id, seen);
      return { machineId: machine.id, state: machine.state as MachineState };
    }
    if (state === "ended" && observation.ended === undefined) return null;
    await tx
      .updateTable("machines")
      .set({
        state,
        observed_generation: seen,
        ...(state === "running" ? { started_at: sql<Date>`now()` } : { ended_at: sql<Date>`now()` }),
        ...(state === "failed" ? { fault: faultOf(observation) } : {}),
      })
      .where("id", "=", machine.id)
      .execute();
    if (state === "running") await reactions.running(tx, machine);
    else if (state === "ended") await reactions.ended(tx, machine, observation.ended!);
    else await reactions.failed(tx, machine, machine.state === "running");
    return { machineId: machine.id, state };
  });
}

const note = (tx: Tx, id: string, seen: number) =>
  tx.updateTable("machines").set({ observed_generation: seen }).where("id", "=", id).execute();

const faultOf = ({ code, detail }: Observation): string =>
  JSON.stringify({ code: code ?? "machine.start-failed", ...(detail === undefined ? {} : { detail }) });
