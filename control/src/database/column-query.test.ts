// SPDX-License-Identifier: Apache-2.0
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ClonedDatabase, cloneDatabase } from "#testing/clone-database.ts";
import { ColumnQuery, type Shapes } from "./column-query.ts";

let clone: ClonedDatabase;
let client: pg.Client;
beforeAll(async () => {
  clone = await cloneDatabase();
  client = new pg.Client({ host: clone.host, user: clone.user, database: clone.database });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await clone[Symbol.asyncDispose]();
});

const TEXT =
  "select $1::int as number, $2::text as word, null::text as nothing, '2026-01-02Z'::timestamptz as at";
const ask = (name: string, shapes: Shapes, values: unknown[]) =>
  new Promise<pg.QueryResult>((resolve, reject) => {
    client.query(
      new ColumnQuery(name, TEXT, values, shapes, (error, result) =>
        error ? reject(error) : resolve(result),
      ),
    );
  });
const at = new Date("2026-01-02T00:00:00Z");

it("reads the second answer of a statement by the columns of the first, and alike", async () => {
  const shapes: Shapes = new Map();
  const first = await ask("again", shapes, [1, "a"]);
  const remembered = shapes.get("again");
  const second = await ask("again", shapes, [2, "b"]);
  expect(first.rows).toEqual([{ number: 1, word: "a", nothing: null, at }]);
  expect(second.rows).toEqual([{ number: 2, word: "b", nothing: null, at }]);
  expect(Object.keys(second.rows[0])).toEqual(["number", "word", "nothing", "at"]);
  expect(second.fields).toBe(first.fields);
  expect(shapes.get("again")).toBe(remembered);
});

it("reads by what it is told where that is not what it remembers", async () => {
  const other: Shapes = new Map();
  await ask("told", other, [1, "a"]);
  const { fields, ...rest } = other.get("told")!;
  const changed = fields.map((field, n) => (n === 0 ? { ...field, name: "former" } : field));
  const shapes: Shapes = new Map([["told", { fields: changed, ...rest }]]);
  expect((await ask("told", shapes, [3, "c"])).rows).toEqual([{ number: 3, word: "c", nothing: null, at }]);
});

it("tells the database's refusal to who asked", async () => {
  await expect(ask("refused", new Map(), ["no number", "a"])).rejects.toMatchObject({ code: "22P02" });
  expect((await ask("refused", new Map(), [4, "d"])).rows[0].number).toBe(4);
});
