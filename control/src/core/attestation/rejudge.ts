// SPDX-License-Identifier: Apache-2.0
/** Accepted verdicts that rest on something revoked are judged again, as of their own time, and say what became of them. */
import { sql } from "kysely";
import { parsePolicyFile } from "#evidence/policy/file.ts";
import { verifyEvidence } from "#evidence/verify.ts";
import type { Db } from "../../database/open.ts";
import { appendClauses } from "../journal/index.ts";
import { payloadOf, withStep } from "./keep.ts";
import { revocationStep } from "./references.ts";

interface Standing {
  id: string;
  account_id: string;
  workload_id: string | null;
  instance_id: string | null;
  purpose: string;
  evidence: Buffer;
  beside: string[];
  policy: object | null;
  bound: Buffer | null;
  key_name: string | null;
  rests_on: string[];
  created_at: Date;
}

const BATCH = 50;

/** Answers how many lost their acceptance. Each that is found is not found again, so it ends. */
export async function rejudgeRevoked(db: Db): Promise<number> {
  let lost = 0;
  for (;;) {
    const { rows } = await sql<Standing>`
      select id, account_id, workload_id, instance_id, purpose, evidence, beside, policy, bound, key_name, rests_on, created_at from attestations
      where accepted and rests_on && (select coalesce(array_agg(value), '{}') from revoked_references) limit ${BATCH}`.execute(
      db,
    );
    let changed = 0;
    for (const row of rows) changed += await rejudge(db, row).catch(() => 0);
    lost += changed;
    // One that cannot be judged is found again, and must not keep us here.
    if (rows.length < BATCH || changed === 0) return lost;
  }
}

async function rejudge(db: Db, row: Standing): Promise<number> {
  const policy = row.policy === null ? null : parsePolicyFile(row.policy);
  const judged = await verifyEvidence(
    row.evidence,
    row.beside.map((der) => Buffer.from(der, "base64")),
    {
      ...{ atMs: row.created_at.getTime(), policy: policy?.ok === true ? policy.policy : null },
      ...(row.bound !== null && { bound: row.bound }),
      ...(row.key_name !== null && { keyName: row.key_name }),
    },
  );
  const verdict = withStep(judged, await revocationStep(db, row.rests_on));
  const entry = {
    ...{ account: row.account_id, type: "attestation.revoked", subject: row.id },
    payload: payloadOf({ workload: row.workload_id, instance: row.instance_id }, row.purpose, verdict),
  };
  const { rows } = await sql`
    with changed as (
      update attestations set accepted = ${verdict.accepted}, hardware = ${verdict.hardware}, uncheckable = ${verdict.uncheckable},
        steps = ${JSON.stringify(verdict.steps)}::jsonb, judged_at = now()
      where id = ${row.id} and accepted and not ${verdict.accepted} returning id
    ),
    ${appendClauses(entry, sql`exists (select from changed)`)}
    select changed.id, (select count(*) from entry) from changed`.execute(db);
  return rows.length;
}
