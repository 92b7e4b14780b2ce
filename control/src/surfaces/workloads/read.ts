// SPDX-License-Identifier: Apache-2.0
/** Reading workloads: one, and a page of them. */
import type { getWorkload, listWorkloads, listWorkloadsByPost } from "#contract/workloads/workloads.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import type { Deps } from "./deps.ts";
import { composeIdentity } from "./payload.ts";
import { listWorkloadRows, requireWorkload, UUID, type WorkloadRow } from "./rows.ts";
import { viewWorkload } from "./view.ts";

type Needs = Pick<Deps, "db" | "vault" | "workloads">;

export async function read(deps: Needs, call: Call<typeof getWorkload>): Promise<Answer> {
  return {
    status: 200,
    body: await show(deps, await requireWorkload(deps.db.soft, call.account.id, call.params.id)),
  };
}

const LIMIT = 1000;

/** A bare array, as the seed has it; the next page is in the Link field. */
export async function list(
  deps: Needs,
  call: Call<typeof listWorkloads> | Call<typeof listWorkloadsByPost>,
): Promise<Answer> {
  const { limit = LIMIT, cursor, status } = call.query;
  const rows = await listWorkloadRows(deps.db.soft, {
    account: call.account.id,
    status: status ?? null,
    after: cursor === undefined ? null : parseCursor(cursor, UUID),
    limit: limit + 1,
  });
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const more = rows.length > limit && last !== undefined;
  const next = more ? cursorAt(last) : null;
  return {
    status: 200,
    body: await Promise.all(page.map((row) => show(deps, row))),
    ...(next === null
      ? {}
      : { headers: { link: `</api/v1/workloads/list?limit=${limit}&cursor=${next}>; rel="next"` } }),
  };
}

async function show({ vault, workloads }: Pick<Deps, "vault" | "workloads">, row: WorkloadRow) {
  const compose = await vault.open(composeIdentity(row.id), row.compose_sealed);
  return viewWorkload(row, compose.toString(), workloads);
}
