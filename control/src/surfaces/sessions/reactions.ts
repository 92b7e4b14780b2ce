// SPDX-License-Identifier: Apache-2.0
/**
 * What a machine's change means to its session, inside the transaction that records the change. The
 * session's status is a projection of the machine's end; nobody sets it by wish.
 */
import { sql } from "kysely";
import type { Cdp } from "#evidence/proofs/document.ts";
import { append } from "../../core/journal/index.ts";
import { release, settle } from "../../core/ledger/index.ts";
import type { Ended, MachineRow, Reactions } from "../../core/machines/index.ts";
import { keepProof } from "../../core/proofs/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Tx } from "../../database/open.ts";

const sessionOf = (tx: Tx, machine: MachineRow) =>
  tx.selectFrom("sessions").select(["id", "status"]).where("machine_id", "=", machine.id).executeTakeFirst();

export function sessionReactions(vault: Vault): Reactions {
  return {
    async running() {},

    async ended(tx, machine, ended) {
      const session = await sessionOf(tx, machine);
      if (session === undefined) return;
      const status = statusOf(ended);
      await keepProof(tx, {
        machineId: machine.id,
        subjectId: session.id,
        accountId: machine.account_id,
        document: ended.proof,
        saltSealed: await vault.seal(saltIdentity(session.id), Buffer.from(ended.saltHex, "hex")),
        outcome: ended.outcome,
      });
      await tx
        .updateTable("machines")
        .set({ end_trigger: ended.trigger })
        .where("id", "=", machine.id)
        .execute();
      await close(tx, session.id, status);
      await release(tx, machine.id, "sessions");
      await settle(tx, machine.id, "cdps");
      await append(tx, {
        account: machine.account_id,
        type: `session.${status}`,
        subject: session.id,
        payload: { trigger: ended.trigger, outcome: ended.outcome },
      });
    },

    async failed(tx, machine, started) {
      const session = await sessionOf(tx, machine);
      if (session === undefined) return;
      await release(tx, machine.id, "sessions");
      await release(tx, machine.id, "cdps");
      // A session that never ran was never shown to anybody; one that did stays readable, without a proof.
      if (started) await close(tx, session.id, "expired_unclean");
      else await tx.deleteFrom("sessions").where("id", "=", session.id).execute();
      const type = started ? "session.expired_unclean" : "session.failed";
      await append(tx, { account: machine.account_id, type, subject: session.id, payload: { proof: false } });
    },
  };
}

export const saltIdentity = (session: string): string => `proofs/${session}/salt`;

/** The status is the one that was signed, so the record can never say more than the proof. */
function statusOf({ proof, outcome }: Ended): string {
  const status = (JSON.parse(proof) as Cdp).evidence[7].measured.end_state;
  return outcome === "complete" ? status : "expired_unclean";
}

async function close(tx: Tx, id: string, status: string): Promise<void> {
  await tx
    .updateTable("sessions")
    .set((eb) => ({ status, ended_at: sql<Date>`now()`, executing_by: null, version: eb("version", "+", 1) }))
    .where("id", "=", id)
    .execute();
}
