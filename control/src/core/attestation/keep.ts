// SPDX-License-Identifier: Apache-2.0
/**
 * Verdicts are kept with everything they were made of, so that somebody else, or we ourselves when something was revoked, can
 * judge the same evidence again. Each is journalled, the refused ones too: they are what an owner wants to hear of.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { MEBIBYTE } from "#contract/operation.ts";
import type { EvidenceVerdict } from "#evidence/verify.ts";
import type { Db } from "../../database/open.ts";
import { appendClauses } from "../journal/index.ts";
import { pooledBytes } from "../random.ts";
import { referencesOf, revocationStep } from "./references.ts";

export interface VerdictToKeep {
  account: string;
  /** Null: somebody brought the evidence. */
  subject:
    | (({ workload: string } | { instance: string }) & { machine: string; image: string; launch: string })
    | null;
  purpose: "report" | "seal" | "login" | "brought";
  evidence: Uint8Array;
  beside: readonly Uint8Array[];
  policy: object | null;
  bound: Uint8Array | null;
  keyName: string | null;
  nonce: Uint8Array | null;
  verdict: EvidenceVerdict;
  /** What the account may keep of evidence that it brings; absent for what this installation asked itself. */
  room?: { rows: number; bytes: number };
}

/** The verdict with what only this installation knows. `also`: hashes of what the machine is beside what its evidence says. */
export async function withRevocations(
  db: Db,
  ask: Pick<VerdictToKeep, "evidence" | "beside" | "policy" | "verdict">,
  also: string[],
): Promise<EvidenceVerdict> {
  return withStep(ask.verdict, await revocationStep(db, referencesOf({ ...ask, also })));
}

/** Answers its id, and the verdict with what only this installation knows. */
export async function keepVerdict(
  db: Db,
  ask: VerdictToKeep,
): Promise<{ id: string; verdict: EvidenceVerdict }> {
  const id = `att_${pooledBytes(16).toString("hex")}`;
  const { subject } = ask;
  const of = { workload: null, instance: null, ...subject };
  const also = subject === null ? [] : [subject.image, subject.launch];
  const restsOn = referencesOf({ ...ask, also });
  const verdict = await withRevocations(db, ask, also);
  const entry = {
    account: ask.account,
    type: verdict.accepted ? "attestation.accepted" : "attestation.refused",
    subject: id,
    payload: payloadOf(of, ask.purpose, verdict),
  };
  const bytes = (value: Uint8Array | null) => value && Buffer.from(value);
  const beside = ask.beside.map((der) => Buffer.from(der).toString("base64"));
  const [besideText, policyText] = [JSON.stringify(beside), ask.policy && JSON.stringify(ask.policy)];
  const { room } = ask;
  const taken =
    room === undefined
      ? 0
      : ask.evidence.length + Buffer.byteLength(besideText) + Buffer.byteLength(policyText ?? "");
  const { rows } = await sql<{ accepted: boolean }>`
    with room as (
      insert into attestation_room as kept (account_id, brought, brought_bytes)
      select ${ask.account}, 1, ${taken}::bigint where ${room !== undefined}::boolean and ${taken}::bigint <= ${room?.bytes ?? 0}::bigint and 1 <= ${room?.rows ?? 0}::integer
      on conflict (account_id) do update set brought = kept.brought + 1, brought_bytes = kept.brought_bytes + excluded.brought_bytes
        where kept.brought < ${room?.rows ?? 0}::integer and kept.brought_bytes + excluded.brought_bytes <= ${room?.bytes ?? 0}::bigint
      returning true
    ), made as (
      insert into attestations (id, account_id, workload_id, instance_id, machine_id, purpose, platform, accepted, uncheckable, hardware,
        steps, unasked, evidence, beside, policy, bound, key_name, nonce, rests_on, room_bytes)
      select ${id}, ${ask.account}, ${of.workload}::uuid, ${of.instance}::text, ${subject?.machine ?? null}, ${ask.purpose},
        ${verdict.platform}, ${verdict.accepted} and not exists (select from revoked_references where value = any(${restsOn ?? []}::text[])), ${verdict.uncheckable}, ${verdict.hardware}, ${JSON.stringify(verdict.steps)}::jsonb,
        ${JSON.stringify(verdict.unasked)}::jsonb, ${bytes(ask.evidence)}::bytea, ${besideText}::jsonb,
        ${policyText}::jsonb, ${bytes(ask.bound)}::bytea, ${ask.keyName},
        ${bytes(ask.nonce)}::bytea, ${restsOn ?? []}::text[], ${taken}::integer
      where ${room === undefined}::boolean or exists (select from room)
      returning accepted
    ),
    ${appendClauses(entry, sql`exists (select from made)`)}
    select made.accepted, (select count(*) from entry) from made`.execute(db);
  if (rows[0] === undefined)
    throw new Fault("attestation.limit", { rows: room!.rows, mebibytes: Math.floor(room!.bytes / MEBIBYTE) });
  // What was revoked since the step was made counts too.
  return { id, verdict: { ...verdict, accepted: rows[0].accepted } };
}

export function withStep(verdict: EvidenceVerdict, step: EvidenceVerdict["steps"][number]): EvidenceVerdict {
  return {
    ...verdict,
    accepted: verdict.accepted && step.ok,
    uncheckable: verdict.uncheckable && step.ok,
    hardware: verdict.hardware && step.ok,
    steps: [...verdict.steps, step],
  };
}

/** For the journal, whose reader is told of it. */
export const payloadOf = (
  { workload, instance }: { workload: string | null; instance: string | null },
  purpose: string,
  verdict: EvidenceVerdict,
) => ({
  ...(workload !== null && { workload }),
  ...(instance !== null && { instance }),
  ...{ platform: verdict.platform, hardware: verdict.hardware, purpose },
  failed: verdict.steps.filter(({ ok }) => !ok).map(({ name }) => name),
});

/** Only what the account brought: what this installation asked itself is its own record. Answers whether there was such a one. */
export async function forgetBrought(db: Db, account: string, id: string): Promise<boolean> {
  const { rows } = await sql<{ id: string }>`
    with gone as (
      delete from attestations where id = ${id} and account_id = ${account} and purpose = 'brought' returning id, room_bytes
    ), given as (
      update attestation_room set brought = brought - 1, brought_bytes = brought_bytes - gone.room_bytes
      from gone where account_id = ${account} returning true
    )
    select id from gone, given`.execute(db);
  return rows.length > 0;
}
