// SPDX-License-Identifier: Apache-2.0
/**
 * What a machine's change means to its session, inside the statement that records the change. The
 * session's status is a projection of the machine's end; nobody sets it by wish.
 */
import { sql } from "kysely";
import type { Cdp } from "#evidence/proofs/document.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { concludeClauses } from "../../core/ledger/index.ts";
import type { Ended, Reactions } from "../../core/machines/index.ts";
import { keepProofClauses } from "../../core/proofs/index.ts";
import type { Vault } from "../../core/vault/index.ts";

export function sessionReactions(vault: Vault): Reactions {
  return {
    async ended(ended) {
      const { proof: document, outcome, trigger } = ended;
      const cdp = JSON.parse(document) as Cdp;
      const saltSealed = await vault.seal(saltIdentity(cdp.session_id), Buffer.from(ended.saltHex, "hex"));
      return sql`
        subject as (
          update sessions set ended_at = now(), executing_by = null, version = version + 1,
            status = case when id = ${cdp.session_id} then ${statusOf(ended, cdp)} else 'expired_unclean' end
          where machine_id = (select id from machine)
          returning id, machine_id, account_id, status, jurisdiction, data_classification
        ),
        ${keepProofClauses({ document, cdp, saltSealed, outcome })},
        ${concludeClauses("slot", "sessions", "released")},
        ${concludeClauses("cdp", "cdps", "settled")},
        ${appendClauses({ ...ABOUT_SUBJECT, payload: { trigger, outcome } }, AFTER_COUNTERS)}`;
    },

    failed: () => sql`
      started as (
        update sessions set ended_at = now(), executing_by = null, version = version + 1,
          status = 'expired_unclean'
        where machine_id = (select id from machine where started_at is not null)
        returning id, account_id, status
      ),
      never_ran as (
        delete from sessions where machine_id = (select id from machine where started_at is null)
        returning id, account_id, 'failed' as status
      ),
      subject as (select * from started union all select * from never_ran),
      ${concludeClauses("slot", "sessions", "released")},
      ${concludeClauses("cdp", "cdps", "released")},
      ${appendClauses({ ...ABOUT_SUBJECT, payload: { proof: false } }, AFTER_COUNTERS)}`,
  };
}

/** A session that never ran was never shown to anybody and goes; one that did stays, without a proof. */
const ABOUT_SUBJECT = {
  account: sql`(select account_id from subject)`,
  type: sql`(select 'session.' || status from subject)`,
  subject: sql`(select id from subject)`,
};

/** Creates lock counters first and the account last; whoever did it the other way could deadlock with them. */
const AFTER_COUNTERS = sql`(select count(*) from slot) + (select count(*) from cdp) >= 0`;

export const saltIdentity = (session: string): string => `proofs/${session}/salt`;

/** The status is the one that was signed, so the record can never say more than the proof. */
function statusOf({ outcome }: Ended, cdp: Cdp): string {
  return outcome === "complete" ? cdp.evidence[7].measured.end_state : "expired_unclean";
}
