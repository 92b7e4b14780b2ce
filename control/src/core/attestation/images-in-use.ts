// SPDX-License-Identifier: Apache-2.0
/** Guest images without which a workload or an instance could not be started, or its machine not be judged. */
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";

export interface ImageInUse {
  sha256: string;
  workloads: number;
}

export async function imagesInUse(db: Db): Promise<ImageInUse[]> {
  const { rows } = await sql<ImageInUse>`
    with alive as (select id, image_sha256 from workloads where deleted_at is null and image_sha256 is not null),
    used as (
      select id::text, image_sha256 as sha256 from alive
      union
      select alive.id::text, l.image_sha256 from alive join workload_launches l on l.workload_id = alive.id
      where l.approved_at is not null
      union
      select id, image_sha256 from instances where status in ('provisioning', 'ready')
    )
    select sha256, count(*)::int as workloads from used group by sha256 order by sha256`.execute(db);
  return rows;
}
