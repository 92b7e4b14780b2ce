// SPDX-License-Identifier: Apache-2.0
/**
 * Launches of a workload: which image with which manifest may have its secrets, and its disk with them. Whoever may write
 * the account's workloads approves; that the machine really is such a launch is shown by its evidence (release.ts).
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { approveLaunch, listLaunches } from "#contract/workloads/launches.ts";
import { appendClauses } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireWorkload, type WorkloadRow } from "./rows.ts";

export const launchAbout = (row: Pick<WorkloadRow, "domain" | "custom_domain" | "disk_gb">) => ({
  ...{ domain: row.domain, custom: row.custom_domain, diskGb: row.disk_gb },
});

/** An insert for the one row `subject` (id); of none, and of a launch that is not to be approved by this, nothing. */
export const approveClause = (
  subject: RawBuilder<unknown>,
  launch: { image: string; launch: string; approves: boolean } | null,
  by: string,
): RawBuilder<unknown> => sql`
  insert into workload_launches (workload_id, image_sha256, launch_sha256, approved_at, approved_by)
  select s.id, ${launch?.image ?? null}::text, ${launch?.launch ?? null}::text,
    case when ${launch?.approves ?? false} then now() end, case when ${launch?.approves ?? false} then ${by}::text end
  from ${subject} s where ${launch !== null}
  on conflict (workload_id, image_sha256, launch_sha256) do update
    set approved_at = coalesce(workload_launches.approved_at, excluded.approved_at),
        approved_by = coalesce(workload_launches.approved_by, excluded.approved_by), seen_at = now()`;

interface Row {
  image_sha256: string;
  launch_sha256: string;
  approved_at: Date | null;
  approved_by: string | null;
  seen_at: Date;
}

export async function list(
  { db }: Pick<Deps, "db">,
  { account, body }: Call<typeof listLaunches>,
): Promise<Answer> {
  const workload = await requireWorkload(db.soft, account.id, body.workloadId);
  const { rows } = await sql<Row>`
    select image_sha256, launch_sha256, approved_at, approved_by, seen_at from workload_launches
    where workload_id = ${workload.id}::uuid order by seen_at desc, launch_sha256 limit 1000`.execute(
    db.soft,
  );
  return { status: 200, body: rows.map(view) };
}

export async function approve(
  { db }: Pick<Deps, "db">,
  { account, body, principal }: Call<typeof approveLaunch>,
): Promise<Answer> {
  const workload = await requireWorkload(db.soft, account.id, body.workloadId);
  const { imageSha256: image, launchSha256: launch } = body;
  const entry = {
    ...{ account: account.id, type: "workload.launchApproved", subject: workload.id },
    payload: { image, launch, by: principal!.keyId },
  };
  const { rows } = await sql<Row>`
    with subject as (
      select id from workloads where id = ${workload.id}::uuid and image_sha256 is not null and deleted_at is null
    ),
    made as (
      ${approveClause(sql`subject`, { image, launch, approves: true }, principal!.keyId)}
      returning *
    ),
    ${appendClauses(entry, sql`exists (select from made)`)}
    select made.*, (select count(*) from entry) from made`.execute(db.run);
  if (rows[0] === undefined)
    throw new Fault("machine.not-attested", {
      detail: "A container is not measured: there is nothing to approve.",
    });
  return { status: 200, body: view(rows[0]) };
}

const view = (row: Row) => ({
  imageSha256: row.image_sha256,
  launchSha256: row.launch_sha256,
  approvedAt: row.approved_at?.toISOString() ?? null,
  approvedBy: row.approved_by,
  seenAt: row.seen_at.toISOString(),
});
