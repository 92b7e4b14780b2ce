// SPDX-License-Identifier: Apache-2.0
/** Reading instances: one, a page, and waiting for a state. */
import type { getInstance, listInstances } from "#contract/instances/instances.ts";
import { POWERS, STATUSES } from "#contract/instances/vocabulary.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import { shown } from "../../http/etag.ts";
import { waitFor } from "../../http/wait-for.ts";
import type { Deps } from "./deps.ts";
import { findNamed, type InstanceRow, listInstanceRows, ownInstance } from "./rows.ts";
import { viewInstance } from "./view.ts";

/** Asked while the caller is still being recognised; whose it is, is seen afterwards. */
export const readAhead = ({ db }: Pick<Deps, "db">, params: unknown): Promise<InstanceRow[]> =>
  findNamed(db.quick, (params as { name?: unknown }).name);

export async function read(deps: Pick<Deps, "db" | "feed">, call: Call<typeof getInstance>): Promise<Answer> {
  let first = call.ahead as Promise<InstanceRow[]> | undefined;
  const row = await waitFor(call, {
    states: [...STATUSES, ...POWERS],
    read: async () => {
      const rows = await (first ?? readAhead(deps, call.params));
      first = undefined;
      return ownInstance(rows, call.account.id);
    },
    statusOf: ({ status, power }) => (status === "ready" && power !== null ? [status, power] : [status]),
    isOver: ({ status }) => status === "terminated" || status === "failed",
    more: ({ name }, timeoutMs, signal) => deps.feed.wait(name, timeoutMs, signal),
  });
  return shown(call.headers, row.version, viewInstance(row));
}

const ID = /^inst_[0-9a-f]{32}$/;
/** As the seed has it: all of them. */
const LIMIT = 1000;

export async function list(
  deps: Pick<Deps, "db" | "instances">,
  call: Call<typeof listInstances>,
): Promise<Answer> {
  const { limit = LIMIT, cursor, status = null, agent = null } = call.query;
  const rows = await listInstanceRows(deps.db.soft, {
    ...{ account: call.account.id, status, agent },
    after: cursor === undefined ? null : parseCursor(cursor, ID),
    limit: limit + 1,
  });
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const { publicKeyInList } = deps.instances.dialect;
  const shownInList = (row: InstanceRow) => {
    const { public_key, ...rest } = viewInstance(row);
    return publicKeyInList ? { ...viewInstance(row) } : rest;
  };
  const more = rows.length > limit && last !== undefined;
  return {
    status: 200,
    body: { instances: page.map(shownInList), next_cursor: more ? cursorAt(last) : null },
  };
}
