// SPDX-License-Identifier: Apache-2.0
/** Lists by limit, offset and OrderBy; the whole count goes into X-Pagination-Records. */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Answer } from "./call.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 500;

interface Asked {
  limit?: number | undefined;
  offset?: number | undefined;
  OrderBy?: string | undefined;
}

export interface Page {
  limit: number;
  offset: number;
  /** For `order by`: what was asked, then what tells rows of the same apart. */
  order: RawBuilder<unknown>;
}

/**
 * `orders` says by which members one may order, and the column of each; the first word of `fallback` is a
 * member of it too. `tie` is a column that no two rows share, so that pages neither skip nor repeat.
 */
export function pageOf(asked: Asked, orders: Record<string, string>, fallback: string, tie: string): Page {
  const wanted = asked.OrderBy ?? fallback;
  const down = wanted.startsWith("-");
  const member = down ? wanted.slice(1) : wanted;
  const column = Object.hasOwn(orders, member) ? orders[member] : undefined;
  if (column === undefined)
    throw new Fault("request.invalid", {
      detail: `OrderBy is one of ${Object.keys(orders).join(", ")}, with - before it for downwards`,
      field: "OrderBy",
    });
  const direction = down ? sql`desc` : sql`asc`;
  return {
    limit: Math.min(asked.limit ?? LIMIT_DEFAULT, LIMIT_MAX),
    offset: asked.offset ?? 0,
    order: sql`${sql.ref(column)} ${direction}, ${sql.ref(tie)} ${direction}`,
  };
}

/** `records`: how many match, whatever the page. */
export const paged = (body: unknown[], records: number): Answer => ({
  status: 200,
  body,
  headers: { "x-pagination-records": String(records) },
});
