// SPDX-License-Identifier: Apache-2.0
/**
 * Casemate's tables in a PostgreSQL that belongs to somebody else. What is ours is read from the
 * migrations of this release and looked for in the schema that holds our `migrations`; nothing is dropped
 * by CASCADE, so that a view the owner made on our tables stops us and is not lost. The job queue's schema is
 * emptied of what the queue says it made, and goes when nothing else is in it.
 */
import { globSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import pg from "pg";
import { getUninstallPlans } from "pg-boss";

const MIGRATIONS = new URL("../../control/src/database/migrations/", import.meta.url).pathname;
const CONNECT_MS = 10_000;
const STATEMENT_MS = 60_000;

export interface OurObjects {
  tables: string[];
  functions: string[];
  schemas: string[];
}

/** What is there of ours; throws when the server does not answer or its `migrations` are not ours. */
export async function findOurs(url: string): Promise<OurObjects> {
  return withClient(url, ours);
}

/** Drops it, all or nothing, and answers what it was. */
export async function dropOurs(url: string): Promise<OurObjects> {
  return withClient(url, async (client) => {
    await client.query("begin");
    const found = await ours(client);
    for (const statement of dropStatements(found)) await client.query(statement);
    await client.query("commit");
    return found;
  });
}

/** For whoever would rather do it themselves. */
export const dropStatements = ({ tables, functions, schemas }: OurObjects): string[] => [
  ...(tables.length > 0 ? [`drop table ${tables.join(", ")};`] : []),
  ...(functions.length > 0 ? [`drop function ${functions.join(", ")};`] : []),
  ...schemas.flatMap((schema) => [...getUninstallPlans(schema).split("\n"), `drop schema ${schema};`]),
];

async function ours(client: pg.Client): Promise<OurObjects> {
  const none = { tables: [], functions: [], schemas: [] };
  const { rows: at } = await client.query<{ oid: string | null }>(
    "select to_regclass('migrations')::oid::text oid",
  );
  if (at[0]!.oid === null) return none;
  const files = globSync(`${MIGRATIONS}*.sql`);
  const known = new Set(files.map((path) => basename(path)));
  const { rows: applied } = await client.query<{ name: string }>("select name from migrations");
  if (applied.length === 0 || !applied.every(({ name }) => known.has(name)))
    throw new Error("the table migrations there is not one of this release's; nothing was dropped");
  const sql = files.map((path) => readFileSync(path, "utf8")).join("\n");
  const named = (pattern: RegExp) => [...sql.matchAll(pattern)].map(([, name]) => name!);
  const names = ["migrations", ...named(/^create (?:unlogged )?table (\w+)/gm)];
  const { rows: tables } = await client.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relname = any($1)
       and c.relnamespace = (select relnamespace from pg_class where oid = $2::oid) order by 1`,
    [names, at[0]!.oid],
  );
  const { rows: functions } = await client.query<{ name: string }>(
    `select p.oid::regprocedure::text as name from pg_proc p
     where p.proname = any($1) and p.pronamespace = (select relnamespace from pg_class where oid = $2::oid) order by 1`,
    [named(/^create (?:or replace )?function (\w+)/gm), at[0]!.oid],
  );
  const { rows: schemas } = await client.query<{ name: string }>(
    "select nspname as name from pg_namespace where nspname = any($1) order by 1",
    [named(/^ *create schema (\w+)/gm)],
  );
  const listed = (rows: { name: string }[]) => rows.map(({ name }) => name);
  return { tables: listed(tables), functions: listed(functions), schemas: listed(schemas) };
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    statement_timeout: STATEMENT_MS,
  });
  client.on("error", () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
