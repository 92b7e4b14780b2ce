// SPDX-License-Identifier: Apache-2.0
/**
 * Variables that this installation never sees: their owner verifies the machine's evidence and seals the values to its key
 * (`casemate workloads seal`). We keep the box until that machine, and no other, is given it with the rest. Each start
 * has a key of its own, so each start waits for its owner: what could be opened again later could be opened by us.
 */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { giveSealedEnv } from "#contract/workloads/launches.ts";
import { SEALING_KEY_BYTES } from "#guest/seal.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { NAME_LENGTH_MAX, VARIABLES_MAX } from "./compose/environment.ts";
import type { Deps } from "./deps.ts";
import { isMeasured, type WorkloadIsolation } from "./isolation.ts";
import { requireWorkload } from "./rows.ts";

/** What the compose file is checked with in a value's place: what is in it decides nothing outside its own machine. */
export const PLACEHOLDER = "sealed";

/** Throws for names that cannot be: twice, also in clear, too many, or of a machine that has no key. */
export function requireSealable(
  names: readonly string[],
  envVars: Readonly<Record<string, string>>,
  isolation: WorkloadIsolation,
): void {
  if (names.length === 0) return;
  if (!isMeasured(isolation))
    throw new Fault("workload.isolation", {
      detail: "Sealed variables need a machine that can show what it is: vm-vtpm, vm-snp or vm-tdx.",
    });
  const wrong = names.find(
    (name, at) => Object.hasOwn(envVars, name) || names.indexOf(name) !== at || name.length > NAME_LENGTH_MAX,
  );
  if (wrong !== undefined || names.length > VARIABLES_MAX) {
    const message = "is named twice, or given in clear too";
    const issues = [{ path: `sealedEnv.${(wrong ?? "").slice(0, 128)}`, message }];
    throw new Fault("workload.reserved-variable", { detail: `sealedEnv ${message}` }, { issues });
  }
}

export async function give({ db }: Pick<Deps, "db">, call: Call<typeof giveSealedEnv>): Promise<Answer> {
  const { workloadId, sealingKey, box } = call.body;
  const workload = await requireWorkload(db.soft, call.account.id, workloadId);
  if (workload.sealed_env_names.length === 0)
    throw new Fault("machine.not-attested", { detail: "This workload has no sealed variables." });
  const key = Buffer.from(sealingKey, "base64");
  if (key.length !== SEALING_KEY_BYTES)
    throw new Fault("request.invalid", { detail: `sealingKey is base64 of ${SEALING_KEY_BYTES} bytes` });
  await sql`
    insert into workload_sealed_env (workload_id, key_sha256, box)
    values (${workload.id}::uuid, ${hashOf(key)}::bytea, ${Buffer.from(box, "base64")}::bytea)
    on conflict (workload_id) do update set key_sha256 = excluded.key_sha256, box = excluded.box, given_at = now()`.execute(
    db.run,
  );
  return { status: 200, body: {} };
}

/** The box for this very key, or null: then its owner is waited for. */
export async function findSealedEnv(
  db: Db,
  workload: string,
  sealingKey: Uint8Array,
): Promise<string | null> {
  const { rows } = await sql<{ box: Buffer }>`
    select box from workload_sealed_env
    where workload_id = ${workload}::uuid and key_sha256 = ${hashOf(sealingKey)}::bytea`.execute(db);
  return rows[0]?.box.toString("base64") ?? null;
}

/** Which box there is, whatever it is for. */
export async function boxStamp(db: Db, workload: string): Promise<string> {
  const { rows } = await sql<{ stamp: string }>`
    select given_at::text || encode(key_sha256, 'hex') as stamp from workload_sealed_env where workload_id = ${workload}::uuid`.execute(
    db,
  );
  return rows[0]?.stamp ?? "none";
}

/** Said once for each box that was not its. */
export async function tellWaiting(db: Db, workload: string, names: readonly string[]): Promise<void> {
  const message = `waits for its owner to seal ${names.join(", ")}: casemate workloads seal ${workload}`;
  await sql`
    insert into workload_events (workload_id, kind, details)
    select id, 'warning', jsonb_build_object('message', ${message.slice(0, 1000)}::text) from workloads
    where id = ${workload}::uuid and deleted_at is null`.execute(db);
}

const hashOf = (key: Uint8Array) => createHash("sha256").update(key).digest();
