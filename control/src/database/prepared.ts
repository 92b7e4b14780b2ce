// SPDX-License-Identifier: Apache-2.0
/**
 * Statements are prepared, once for each connection: parsing and planning the larger ones costs the
 * database more than running them (an end of a session: 1.7 of 3.5 ms).
 *
 *  A. A text that comes once is not prepared; the number of names is bounded, whatever texts come.
 *  B. A migration that a newer replica runs may change what a prepared `select *` would return, which
 *     PostgreSQL refuses (0A000). Outside a transaction the statement is then run again under a new
 *     name; inside one nothing can be, and the caller is asked to come again.
 */
import { createHash } from "node:crypto";
import type pg from "pg";
import { ColumnQuery, type Shapes } from "./column-query.ts";

const NAMES_MAX = 400;
const SEEN_MAX = 2000;

const names = new Map<string, string>();
const seen = new Set<string>();

function nameOf(text: string): string | undefined {
  const known = names.get(text);
  if (known !== undefined || names.size >= NAMES_MAX) return known;
  if (!seen.delete(text)) {
    if (seen.size >= SEEN_MAX) seen.clear();
    seen.add(text);
    return undefined;
  }
  const name = `c${createHash("sha256").update(text).digest("hex").slice(0, 24)}`;
  names.set(text, name);
  return name;
}

type Query = (text: unknown, values?: unknown, ...rest: unknown[]) => unknown;

/** To be called on each new connection of a pool. */
export function prepareStatements(client: pg.ClientBase & { getTransactionStatus?(): string | null }): void {
  const query = client.query.bind(client) as Query;
  const shapes: Shapes = new Map();
  const run = (name: string, text: string, values: unknown[]) =>
    new Promise<pg.QueryResult>((resolve, reject) => {
      query(
        new ColumnQuery(name, text, values, shapes, (error, result) => {
          if (error) reject(error);
          else resolve(result);
        }),
      );
    });
  let round = 0;
  const prepared: Query = (text, values, ...rest) => {
    const plain = typeof text !== "string" || !Array.isArray(values) || values.length === 0;
    const name = plain || rest.length > 0 ? undefined : nameOf(text);
    if (name === undefined) return query(text, values, ...rest);
    const alone = client.getTransactionStatus?.() === "I";
    return run(`${name}_${round}`, text as string, values as unknown[]).catch((error: unknown) => {
      if (!isStalePlan(error) || !alone) throw error;
      round += 1;
      return run(`${name}_${round}`, text as string, values as unknown[]);
    });
  };
  client.query = prepared as typeof client.query;
}

/** PostgreSQL's "cached plan must not change result type". */
export const isStalePlan = (error: unknown): boolean => {
  const { code, routine } = error as { code?: string; routine?: string };
  return code === "0A000" && routine === "RevalidateCachedQuery";
};
