// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import pg from "pg";
import { expect, it } from "vitest";
import { startPostgres } from "#embedded/postgres.ts";
import { type Database, openDatabase } from "./open.ts";

const owner = process.getuid?.() === 0 ? { uid: 63_014, gid: 63_014 } : null;
const me = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, name: "casemate-operator" };

/** A server of the test's own, since it is killed: once with `before` done, and once started again. */
async function killedAfter(before: (db: Database) => Promise<unknown>): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-settled-"));
  try {
    // What is not waited for is written down by nobody else meanwhile.
    const settings = { wal_writer_delay: "10s", wal_writer_flush_after: "1GB", bgwriter_delay: "10s" };
    const start = () => startPostgres({ folder, owner, clients: [me], settings });
    const first = await start();
    const connection = { host: first.host, user: first.user, database: "postgres" };
    const db = await openDatabase({ connection, poolMax: 3, onError: () => {} });
    await sql`create table kept (n int)`.execute(db.run);
    await before(db);
    const { rows } = await sql<{ pid: number }>`
      select regexp_replace(pg_read_file('postmaster.pid'), '\\s.*', '')::int as pid`.execute(db.soft);
    const { rows: backends } = await sql<{ pid: number }>`
      select pid from pg_stat_activity where pid is not null`.execute(db.soft);
    for (const { pid } of [...rows, ...backends]) process.kill(pid, "SIGKILL");
    await first.exited;
    await db.close().catch(() => {});
    for (let tries = 0; ; tries++) {
      const again = await start().catch(async (error) => {
        if (tries > 20) throw error;
        await sleep(250);
      });
      if (!again) continue;
      const client = new pg.Client(connection);
      await client.connect();
      const kept = await client.query("select n from kept order by n");
      await client.end();
      await again.stop();
      return kept.rows.map(({ n }) => n);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

it("what was written softly survives a kill of the database once `settled` has said so", async () => {
  const kept = await killedAfter(async (db) => {
    await Promise.all([1, 2, 3].map((n) => sql`insert into kept values (${n})`.execute(db.soft)));
    await Promise.all([db.settled(), db.settled()]);
  });
  expect(kept).toEqual([1, 2, 3]);
});

it("and need not before: waiting is what makes the difference", async () => {
  const kept = await killedAfter(async (db) => {
    await sql`insert into kept values (1)`.execute(db.soft);
    await db.settled();
    await sql`insert into kept values (2)`.execute(db.soft);
  });
  expect(kept).toEqual([1]);
});
