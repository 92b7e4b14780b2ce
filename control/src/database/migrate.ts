// SPDX-License-Identifier: Apache-2.0
/**
 * Numbered plain SQL, forward only. Each file runs in one transaction together with the row that
 * says so; a session lock makes two processes that start at once take turns. A database that has a
 * migration this build does not know was written by a newer release, and is refused.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import type pg from "pg";

const FOLDER = new URL("./migrations/", import.meta.url);
const LOCK = 0x0ca5_ea7e;

export async function migrate(client: pg.ClientBase, folder: URL = FOLDER): Promise<number> {
  await client.query("select pg_advisory_lock($1)", [LOCK]);
  try {
    await client.query(
      `create table if not exists migrations (
         number integer primary key, name text not null, sha256 text not null, at timestamptz not null default now())`,
    );
    const { rows } = await client.query<{ number: number; sha256: string; name: string }>(
      "select number, name, sha256 from migrations",
    );
    const done = new Map(rows.map((row) => [row.number, row]));
    const files = await migrationsIn(folder);
    const newest = files.at(-1)?.number ?? 0;
    const unknown = rows.find((row) => row.number > newest);
    if (unknown) {
      throw new Error(
        `the database has migration ${unknown.name}, which this release does not know: use a newer one`,
      );
    }
    let applied = 0;
    for (const file of files) {
      const earlier = done.get(file.number);
      if (earlier === undefined) {
        await apply(client, file);
        applied++;
      } else if (earlier.sha256 !== file.sha256) {
        throw new Error(`migration ${file.name} was changed after it had been applied`);
      }
    }
    return applied;
  } finally {
    await client.query("select pg_advisory_unlock($1)", [LOCK]);
  }
}

interface Migration {
  number: number;
  name: string;
  sql: string;
  sha256: string;
}

async function migrationsIn(folder: URL): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => /^\d{4}_.*\.sql$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, folder), "utf8");
      return {
        number: Number(name.slice(0, 4)),
        name,
        sql,
        sha256: createHash("sha256").update(sql).digest("hex"),
      };
    }),
  );
}

async function apply(client: pg.ClientBase, { number, name, sql, sha256 }: Migration): Promise<void> {
  await client.query("begin");
  try {
    await client.query("insert into migrations (number, name, sha256) values ($1, $2, $3)", [
      number,
      name,
      sha256,
    ]);
    await client.query(sql);
    await client.query("commit");
  } catch (cause) {
    await client.query("rollback");
    throw new Error(`migration ${name} failed: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
