// SPDX-License-Identifier: Apache-2.0
/** The queue on a real database, over our own connections. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type ClonedDatabase, cloneDatabase } from "#testing/clone-database.ts";
import { type Database, openDatabase } from "../../database/open.ts";
import { type JobQueue, type Jobs, openJobs } from "./index.ts";

let cloned: ClonedDatabase;
let db: Database;
let jobs: Jobs;
let asked: string[];
const errors: unknown[] = [];

beforeEach(async () => {
  cloned = await cloneDatabase();
  const open = await openDatabase({ connection: { ...cloned }, poolMax: 2, onError: () => {} });
  asked = [];
  db = {
    ...open,
    foreign: (text, values) => {
      asked.push(text);
      return open.foreign(text, values);
    },
  };
  jobs = openJobs(db, (error) => errors.push(error));
});
afterEach(async () => {
  await jobs.stop();
  await db.close();
  await cloned[Symbol.asyncDispose]();
  expect(errors).toEqual([]);
});

interface Data {
  n: number;
}
const open = (from = jobs) => from.queue<Data>({ name: "things", takenMs: 1_000 });
const job = (n: number, group: string, more: object = {}) => ({
  ...{ id: randomUUID(), data: { n }, group },
  ...more,
});
const take = async (queue: JobQueue<Data>, ask = {}) =>
  queue.fetch({ ...{ limit: 10, groupMax: 10, ignoreGroups: [] }, ...ask });
const numbers = (taken: { data: Data }[]) => taken.map(({ data }) => data.n).sort();

it("makes nothing before somebody needs it", async () => {
  const { rows } = await sql`
    select from pg_class where relnamespace = 'casemate_jobs'::regnamespace`.execute(db.run);
  expect([rows.length, asked]).toEqual([0, []]);
});

it("is started by several at once, and makes each job once", async () => {
  const others = [1, 2, 3].map(() => openJobs(db, (error) => errors.push(error)));
  const queues = await Promise.all([jobs, ...others].map((each) => open(each)));
  const one = job(1, "g");
  for (const queue of queues) await db.write((tx) => queue.add(tx, [one]));
  expect(numbers((await Promise.all(queues.map((queue) => take(queue)))).flat())).toEqual([1]);
  for (const each of others) await each.stop();
});

it("has no job of a transaction that was rolled back, and keeps one whose completion was", async () => {
  const queue = await open();
  const rolledBack = (work: Parameters<Database["write"]>[0]) =>
    db
      .write(async (tx) => {
        await work(tx);
        throw new Error("no");
      })
      .catch(() => {});
  await rolledBack((tx) => queue.add(tx, [job(1, "g")]));
  expect(await take(queue)).toEqual([]);
  await db.write((tx) => queue.add(tx, [job(2, "g")]));
  const [taken] = await take(queue);
  await rolledBack((tx) => queue.complete(tx, taken!));
  await sleep(1_200);
  await queue.tend();
  await expect.poll(async () => numbers(await take(queue)), { timeout: 5_000 }).toEqual([2]);
});

it("gives what a dead taker had to another, and hears the first no more", async () => {
  const queue = await open();
  await db.write((tx) => queue.add(tx, [job(1, "g")]));
  const [dead] = await take(queue);
  expect(await take(queue)).toEqual([]);
  await sleep(1_200);
  await queue.tend();
  await expect.poll(() => take(queue), { timeout: 5_000 }).toHaveLength(1);
  await db.write((tx) => queue.complete(tx, dead!));
  const { rows } = await sql<{ state: string }>`select state from casemate_jobs.job`.execute(db.run);
  expect(rows).toEqual([{ state: "active" }]);
});

it("bounds what is under way of a group, and leaves out groups on request", async () => {
  const queue = await open();
  const made = [...[1, 2, 3, 4, 5].map((n) => job(n, "full")), job(6, "other"), job(7, "left-out")];
  await db.write((tx) => queue.add(tx, made));
  const ask = { groupMax: 2, ignoreGroups: ["left-out"] };
  const taken = [...(await take(queue, ask)), ...(await take(queue, ask)), ...(await take(queue, ask))];
  expect(taken).toHaveLength(3);
  expect(numbers(taken)).toContain(6);
  expect(numbers(taken)).not.toContain(7);
});

it("waits with what is for later", async () => {
  const queue = await open();
  await db.write((tx) => queue.add(tx, [job(1, "g", { startAfterMs: 1_000 })]));
  expect(await take(queue)).toEqual([]);
  await sleep(1_100);
  expect(numbers(await take(queue))).toEqual([1]);
});

it("asks nothing by itself", async () => {
  await open();
  await sleep(300);
  asked.length = 0;
  await sleep(3_000);
  expect(asked).toEqual([]);
});
