// SPDX-License-Identifier: Apache-2.0
/** Instances in the database. Another tenant's instance is indistinguishable from a missing one. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { gatherFor } from "../../database/gather.ts";
import type { Db } from "../../database/open.ts";
import { EGRESS_COLUMNS, type EgressRow } from "./egress.ts";
import { HAS_STATE_DISK } from "./launch.ts";
import type { Stages } from "./stages.ts";

export interface InstanceRow extends EgressRow {
  id: string;
  account_id: string;
  machine_id: string;
  name: string;
  hostname: string;
  agent: string;
  public_key: string;
  inference_mode: string;
  inference_model: string | null;
  custom_inference_endpoint: string | null;
  custom_inference_model_name: string | null;
  egress_limit_bytes: number;
  image_sha256: string;
  status: string;
  failure_code: string | null;
  failure_message: string | null;
  terminated_reason: string | null;
  ssh: { address: string; port: number; hostKeys: string[] } | null;
  created_at: Date;
  ready_at: Date | null;
  terminated_at: Date | null;
  power: string | null;
  key_number: number;
  key_applied: number | null;
  stages: Stages;
  version: number;
  isolation: string;
  state_disk: boolean;
  host_id: string | null;
}

export const NAME = /^[a-z0-9]{8}$/;

const COLUMNS = sql`
  i.id, i.account_id, i.machine_id, i.name, i.hostname, i.agent, i.public_key, i.inference_mode, i.inference_model,
  i.egress_limit_bytes, i.image_sha256, i.status, i.failure_code, i.failure_message, i.terminated_reason, i.ssh,
  i.created_at, i.ready_at, i.terminated_at, i.power, i.key_number, i.key_applied, i.stages, i.version + coalesce(e.version, 0) as version,
  m.spec->>'isolation' as isolation, ${HAS_STATE_DISK} as state_disk, m.host_id, i.custom_inference_endpoint,
  i.custom_inference_model_name, ${EGRESS_COLUMNS}
  from instances i join machines m on m.id = i.machine_id left join instance_egress e on e.instance_id = i.id`;

/** Of two that had a name one after the other, the newer. */
export async function requireInstance(db: Db, account: string, name: string): Promise<InstanceRow> {
  if (!NAME.test(name)) throw new Fault("instance.not-found");
  const { rows } = await sql<InstanceRow>`
    select ${COLUMNS} where i.account_id = ${account} and i.name = ${name}
    order by i.created_at desc limit 1`.execute(db);
  if (rows[0] === undefined) throw new Fault("instance.not-found");
  return rows[0];
}

/** Whosever they are; for nobody's eyes before `ownInstance`. */
export const findNamed = async (db: Db, name: unknown): Promise<InstanceRow[]> =>
  typeof name === "string" && NAME.test(name) ? named(db, name) : [];

export function ownInstance(rows: readonly InstanceRow[], account: string): InstanceRow {
  const row = rows.find(({ account_id }) => account_id === account);
  if (row === undefined) throw new Fault("instance.not-found");
  return row;
}

/** Many clients that look at once are one question, newest first. A row may be given to several: nobody changes it. */
const named = gatherFor(async (db: Db, names: string[]): Promise<InstanceRow[][]> => {
  const { rows } = await sql<InstanceRow>`
    select ${COLUMNS} where i.name = any(${[...new Set(names)]}::text[]) order by i.created_at desc`.execute(
    db,
  );
  const found = Map.groupBy(rows, ({ name }) => name);
  return names.map((name) => found.get(name) ?? []);
});

export async function findInstance(db: Db, id: string): Promise<InstanceRow | null> {
  const { rows } = await sql<InstanceRow>`select ${COLUMNS} where i.id = ${id}`.execute(db);
  return rows[0] ?? null;
}

export interface Page {
  account: string;
  status: string | null;
  agent: string | null;
  after: { createdAt: string; id: string } | null;
  limit: number;
}

/** Newest first; those whose name is free again are forgotten. */
export async function listInstanceRows(db: Db, page: Page): Promise<InstanceRow[]> {
  const { rows } = await sql<InstanceRow>`
    select ${COLUMNS}
    where i.account_id = ${page.account}
      and (i.terminated_at is null or exists (
        select from instance_names n where n.account_id = i.account_id and n.name = i.name
          and n.instance_id = i.id and n.held_until > now()))
      and (${page.status}::text is null or i.status = ${page.status})
      and (${page.agent}::text is null or i.agent = ${page.agent})
      and (${page.after?.id ?? null}::text is null
        or (i.created_at, i.id) < (${page.after?.createdAt ?? null}::timestamptz, ${page.after?.id ?? null}::text))
    order by i.created_at desc, i.id desc limit ${page.limit}`.execute(db);
  return rows;
}
