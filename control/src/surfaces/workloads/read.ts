// SPDX-License-Identifier: Apache-2.0
/** Reading workloads: one, and a page of them. */
import type { getWorkload, listWorkloads, listWorkloadsByPost } from "#contract/workloads/workloads.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import type { Deps } from "./deps.ts";
import { composeIdentity } from "./payload.ts";
import { findWorkload, listWorkloadRows, ownWorkload, UUID, type WorkloadRow } from "./rows.ts";
import { viewWorkload } from "./view.ts";

type Needs = Pick<Deps, "db" | "vault" | "workloads">;

/** Asked while the caller is still being recognised; whose it is, is seen afterwards. */
export const readAhead = ({ db }: Needs, params: unknown): Promise<WorkloadRow | null> =>
  findWorkload(db.quick, (params as { id?: unknown }).id);

export async function read(deps: Needs, call: Call<typeof getWorkload>): Promise<Answer> {
  const row = ownWorkload((await call.ahead) as WorkloadRow | null, call.account.id);
  return { status: 200, body: await show(deps, row) };
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

type View = ReturnType<typeof viewWorkload>;

/** Whoever was given the same row is shown the same; it goes when the row does. */
const shown = new WeakMap<WorkloadRow, Promise<View>>();

export function show(
  { vault, workloads }: Pick<Deps, "vault" | "workloads">,
  row: WorkloadRow,
): Promise<View> {
  let view = shown.get(row);
  if (view === undefined) {
    view = vault
      .open(composeIdentity(row.id), row.compose_sealed)
      .then((compose) => viewWorkload(row, compose.toString(), workloads));
    shown.set(row, view);
  }
  return view;
}
