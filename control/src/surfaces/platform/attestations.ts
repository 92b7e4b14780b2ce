// SPDX-License-Identifier: Apache-2.0
/** Verdicts on evidence: made now, shown with all that they were made of, and taken back when what they rest on was revoked. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { MEBIBYTE } from "#contract/operation.ts";
import type {
  createAttestation,
  deleteAttestation,
  getAttestation,
  listAttestations,
  revokeReference,
} from "#contract/platform/attestations.ts";
import { parsePolicyFile } from "#evidence/policy/file.ts";
import { verifyEvidence } from "#evidence/verify.ts";
import { forgetBrought, keepVerdict, rejudgeRevoked } from "../../core/attestation/index.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import type { PlatformDeps } from "./deps.ts";

type Needs = Pick<PlatformDeps, "db">;

interface Row {
  id: string;
  workload_id: string | null;
  instance_id: string | null;
  purpose: string;
  platform: string | null;
  accepted: boolean;
  uncheckable: boolean;
  hardware: boolean;
  steps: object[];
  unasked: object[];
  evidence: Buffer;
  beside: string[];
  policy: object | null;
  bound: Buffer | null;
  key_name: string | null;
  nonce: Buffer | null;
  created_at: Date;
  judged_at: Date;
}

const ID = /^att_[0-9a-f]{32}$/;

export async function create(
  deps: Pick<PlatformDeps, "db" | "challenge" | "attestation">,
  call: Call<typeof createAttestation>,
): Promise<Answer> {
  const { workload_id: workload, nonce, evidence, purpose = "report" } = call.body;
  const wrong = (detail: string) => new Fault("request.invalid", { detail });
  if ((workload === undefined) === (evidence === undefined))
    throw wrong("give either workload_id or evidence");
  const account = call.account.id;
  if (workload === undefined) {
    const id = await judgeBrought(deps, call);
    return { status: 201, body: view(await requireRow(deps.db.run, account, id), true) };
  }
  const { id, keys, manifest } = await deps.challenge(account, workload, {
    nonce: nonce === undefined ? null : Buffer.from(nonce, "hex"),
    purpose,
  });
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  return {
    status: 201,
    body: {
      ...view(await requireRow(deps.db.run, account, id), true),
      keys: { sealing: base64(keys.sealing), tls: base64(keys.tls) },
      manifest: base64(manifest),
    },
  };
}

async function judgeBrought(
  { db, attestation }: Pick<PlatformDeps, "db" | "attestation">,
  call: Call<typeof createAttestation>,
): Promise<string> {
  const { evidence, beside = [], policy, bound, key_name: keyName, nonce } = call.body;
  const reading = policy === undefined ? null : parsePolicyFile(policy);
  if (reading?.ok === false) throw new Fault("request.invalid", { detail: reading.faults.join("; ") });
  const file = Buffer.from(evidence!, "base64");
  const files = beside.map((one) => Buffer.from(one, "base64"));
  const expected = bound ?? nonce;
  const bytes = expected === undefined ? null : Buffer.from(expected, "hex");
  const verdict = await verifyEvidence(file, files, {
    ...{ atMs: Date.now(), policy: reading?.policy ?? null },
    ...(bytes !== null && { bound: bytes }),
    ...(keyName !== undefined && { keyName }),
  });
  const kept = await keepVerdict(db.run, {
    ...{ account: call.account.id, subject: null, purpose: "brought", evidence: file, beside: files },
    ...{ policy: policy ?? null, bound: bytes, keyName: keyName ?? null, verdict },
    nonce: nonce === undefined ? null : Buffer.from(nonce, "hex"),
    room: { rows: attestation.broughtMax, bytes: attestation.broughtMiB * MEBIBYTE },
  });
  return kept.id;
}

export async function list({ db }: Needs, call: Call<typeof listAttestations>): Promise<Answer> {
  const { limit = 50, cursor, workload_id: workload, accepted } = call.query;
  const after = cursor === undefined ? null : parseCursor(cursor, ID);
  const { rows } = await sql<Row>`
    select ${COLUMNS}, ''::bytea as evidence, '[]'::jsonb as beside from attestations
    where account_id = ${call.account.id}
      and (${workload ?? null}::text is null or workload_id::text = ${workload ?? null})
      and (${accepted ?? null}::text is null or accepted = (${accepted ?? null} = 'true'))
      and (${after?.id ?? null}::text is null or (date_trunc('milliseconds', created_at), id) < (${after?.createdAt ?? null}::timestamptz, ${after?.id ?? null}))
    order by date_trunc('milliseconds', created_at) desc, id desc limit ${limit + 1}`.execute(db.soft);
  const page = rows.slice(0, limit);
  return {
    status: 200,
    body: {
      attestations: page.map((row) => view(row, false)),
      next_cursor: rows.length > limit ? cursorAt(page.at(-1)!) : null,
    },
  };
}

export async function read({ db }: Needs, call: Call<typeof getAttestation>): Promise<Answer> {
  return { status: 200, body: view(await requireRow(db.soft, call.account.id, call.params.id), true) };
}

export async function remove({ db }: Needs, call: Call<typeof deleteAttestation>): Promise<Answer> {
  const { id } = await requireRow(db.run, call.account.id, call.params.id);
  if (!(await forgetBrought(db.run, call.account.id, id))) throw new Fault("attestation.kept");
  return { status: 204 };
}

export async function revoke({ db }: Needs, call: Call<typeof revokeReference>): Promise<Answer> {
  const { value, reason } = call.body;
  const { rows } = await sql<{ value: string; reason: string; revoked_at: Date }>`
    insert into revoked_references (value, reason) values (${value}, ${reason})
    on conflict (value) do update set reason = excluded.reason returning value, reason, revoked_at`.execute(
    db.run,
  );
  const lost = await rejudgeRevoked(db.run);
  const row = rows[0]!;
  return { status: 201, body: { ...row, revoked_at: row.revoked_at.toISOString(), verdicts_lost: lost } };
}

export async function revocations({ db }: Needs): Promise<Answer> {
  const { rows } = await sql<{ value: string; reason: string; revoked_at: Date }>`
    select value, reason, revoked_at from revoked_references order by revoked_at desc, value limit 1000`.execute(
    db.soft,
  );
  return { status: 200, body: rows.map((row) => ({ ...row, revoked_at: row.revoked_at.toISOString() })) };
}

const COLUMNS = sql.raw(
  "id, workload_id, instance_id, purpose, platform, accepted, uncheckable, hardware, steps, unasked, policy, bound, key_name, nonce, created_at, judged_at",
);

/** Another account's is none. */
async function requireRow(db: Db, account: string, id: string): Promise<Row> {
  if (!ID.test(id)) throw new Fault("attestation.not-found");
  const { rows } = await sql<Row>`
    select ${COLUMNS}, evidence, beside from attestations where id = ${id} and account_id = ${account}`.execute(
    db,
  );
  if (rows[0] === undefined) throw new Fault("attestation.not-found");
  return rows[0];
}

const view = (row: Row, whole: boolean) => ({
  ...{
    id: row.id,
    object: "attestation",
    workload_id: row.workload_id,
    instance_id: row.instance_id,
    purpose: row.purpose,
  },
  ...{ platform: row.platform, accepted: row.accepted, uncheckable: row.uncheckable, hardware: row.hardware },
  ...{ steps: row.steps, unasked: row.unasked, policy: row.policy, key_name: row.key_name },
  nonce: row.nonce?.toString("hex") ?? null,
  bound: row.bound?.toString("hex") ?? null,
  ...(whole ? { evidence: row.evidence.toString("base64"), beside: row.beside } : {}),
  created_at: row.created_at.toISOString(),
  judged_at: row.judged_at.toISOString(),
});
