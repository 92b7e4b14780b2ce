// SPDX-License-Identifier: Apache-2.0
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ClonedDatabase, cloneDatabase } from "#testing/clone-database.ts";
import { type Database, openDatabase, unavailable } from "./open.ts";

let clone: ClonedDatabase;
let db: Database;
beforeAll(async () => {
  clone = await cloneDatabase();
  // One connection, so that every statement meets what the ones before it prepared.
  db = await openDatabase({
    connection: { host: clone.host, user: clone.user, database: clone.database },
    poolMax: 1,
    onError: () => {},
  });
});
afterAll(async () => {
  await db.close();
  await clone[Symbol.asyncDispose]();
});

const many = (db: Pick<Database["run"], "getExecutor">, id: number) =>
  sql<Record<string, unknown>>`select * from things where id = ${id}`.execute(db);

test("a table that gains a column under prepared statements fails no statement outside a transaction", async () => {
  await sql`create table things (id integer)`.execute(db.run);
  await sql`insert into things values (1)`.execute(db.run);
  for (let n = 0; n < 3; n++) expect((await many(db.run, 1)).rows).toEqual([{ id: 1 }]);
  const { rows } = await sql<{ n: number }>`select count(*)::int as n from pg_prepared_statements`.execute(
    db.run,
  );
  expect(rows[0]!.n).toBeGreaterThan(0);
  await sql`alter table things add column more text`.execute(db.run);
  expect((await many(db.run, 1)).rows).toEqual([{ id: 1, more: null }]);
});

test("inside a transaction it is a fault that asks to come again, and the next time it goes through", async () => {
  const twice = () => db.write(async (tx) => (await many(tx, 1)).rows);
  await twice();
  await sql`alter table things add column again text`.execute(db.run);
  const error = await twice().catch((cause: unknown) => cause);
  expect(unavailable(error)?.code).toBe("platform.database-unavailable");
  await many(db.run, 1);
  expect(await twice()).toEqual([{ id: 1, more: null, again: null }]);
});
