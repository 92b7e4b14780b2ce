// SPDX-License-Identifier: Apache-2.0
/** Dropping our tables in a PostgreSQL of somebody else's, who has tables there too. */
import pg from "pg";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openJobs } from "#control/src/core/jobs/index.ts";
import { openDatabase } from "#control/src/database/open.ts";
import { cloneDatabase } from "#testing/clone-database.ts";
import { dropOurs, dropStatements, findOurs } from "./own-server.ts";

let database: Awaited<ReturnType<typeof cloneDatabase>>;
let client: pg.Client;
let url: string;

beforeEach(async () => {
  database = await cloneDatabase();
  const { host, user, database: name } = database;
  client = new pg.Client({ host, user, database: name });
  await client.connect();
  url = `postgres://${user}@/${name}?host=${encodeURIComponent(host)}`;
});
afterEach(async () => {
  await client.end();
  await database[Symbol.asyncDispose]();
});

const all = async () => {
  const { rows } = await client.query(
    `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'S')
     union all select proname from pg_proc where pronamespace = 'public'::regnamespace`,
  );
  return rows.map(({ name }) => name as string).sort();
};

it("drops everything that the migrations made and nothing else", async () => {
  await client.query("create table customers_of_mine (id int)");
  const found = await dropOurs(url);
  expect(found.tables).toContain("public.journal");
  expect(await all()).toEqual(["customers_of_mine"]);
  expect(await findOurs(url)).toEqual({ tables: [], functions: [], schemas: [] });
});

const jobTables = async () =>
  (await client.query("select from pg_class where relnamespace = to_regnamespace('casemate_jobs')")).rowCount;
/** As control does for its first webhook. */
async function useQueue() {
  const { host, user, database: name } = database;
  const db = await openDatabase({
    connection: { host, user, database: name },
    poolMax: 2,
    onError: () => {},
  });
  const jobs = openJobs(db, () => {});
  const queue = await jobs.queue<{ n: number }>({ name: "q", takenMs: 1000 });
  const id = "00000000-0000-4000-8000-000000000000";
  await db.write((tx) => queue.add(tx, [{ id, data: { n: 1 }, group: "g" }]));
  await jobs.stop();
  await db.close();
}

it("drops the job queue's schema with it, which the queue has filled", async () => {
  await useQueue();
  expect(await jobTables()).toBeGreaterThan(10);
  expect((await dropOurs(url)).schemas).toEqual(["casemate_jobs"]);
  const { rows } = await client.query("select to_regnamespace('casemate_jobs') as there");
  expect(rows).toEqual([{ there: null }]);
});

it("drops nothing when somebody keeps something of theirs in the job queue's schema", async () => {
  await useQueue();
  await client.query("create table casemate_jobs.mine (id int)");
  const before = [await all(), await jobTables()];
  await expect(dropOurs(url)).rejects.toThrow(/depend/);
  expect([await all(), await jobTables()]).toEqual(before);
});

it("drops nothing when something of the owner's hangs on our tables", async () => {
  await client.query("create view mine as select count(*) from sessions");
  const before = await all();
  await expect(dropOurs(url)).rejects.toThrow(/depend/);
  expect(await all()).toEqual(before);
});

it("does not take another program's migrations for ours", async () => {
  await client.query("update migrations set name = '0001_theirs.sql' where number = 1");
  await expect(dropOurs(url)).rejects.toThrow("is not one of this release's");
  expect(await all()).toContain("journal");
});

it("prints statements that do the same", async () => {
  for (const line of dropStatements(await findOurs(url))) await client.query(line);
  expect(await all()).toEqual([]);
});
