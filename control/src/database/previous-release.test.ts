// SPDX-License-Identifier: Apache-2.0
/** What an earlier release wrote is opened by this one: its rows, its sealed values, its proofs, its keys. */
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";
import { describe, expect, inject, it } from "vitest";
import { callerOf, startInstallation } from "#testing/installation.ts";
import { migrate } from "./migrate.ts";

const RELEASES = new URL("../../../testing/releases/", import.meta.url).pathname;
const MIGRATIONS = new URL("./migrations/", import.meta.url).pathname;

interface Kept {
  release: string;
  session: string;
  key: string;
  keyRing: string;
  tables: Record<string, object[]>;
}

describe.each(readdirSync(RELEASES).filter((name) => name.endsWith(".json")))("the state of %s", (name) => {
  it("is taken over whole", async () => {
    const kept = JSON.parse(readFileSync(join(RELEASES, name), "utf8")) as Kept;
    const folder = mkdtempSync(join(tmpdir(), "casemate-release-"));
    const database = `release_${kept.release.replaceAll(".", "_")}_${process.pid}`;
    const { host, user } = inject("postgres");
    const admin = new pg.Client({ host, user, database: "postgres" });
    await admin.connect();
    await admin.query(`create database ${database} template template0`);
    try {
      await fill({ host, user, database }, kept, folder);
      writeFileSync(join(folder, "kek"), kept.keyRing, { mode: 0o600 });
      const connection = { host, user, database, keyRing: join(folder, "kek") };
      await using now = await startInstallation({ withHost: false, database: connection });
      const me = callerOf(now.url, kept.key);
      const destroyed = await me("DELETE", `/v1/sessions/${kept.session}`);
      expect([destroyed.status, destroyed.body.salt]).toEqual([200, expect.stringMatching(/^[0-9a-f]{64}$/)]);
      const proof = await me("GET", `/v1/proofs/${kept.session}`);
      expect(destroyed.text).toContain(`"cdp":${proof.text},`);
      expect((await me("POST", "/v1/verify", proof.text)).body).toMatchObject({ valid: true, level: 2 });
      expect((await me("GET", "/v1/customers/me")).body).toMatchObject({
        cdps_this_cycle: expect.any(Number),
      });
    } finally {
      await admin.query(`drop database if exists ${database} with (force)`);
      await admin.end();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** The schema as that release knew it, then its rows. */
async function fill(config: pg.ClientConfig, kept: Kept, folder: string): Promise<void> {
  const known = kept.tables.migrations as { number: number; name: string }[];
  const migrations = join(folder, "migrations");
  mkdirSync(migrations);
  for (const { name } of known) copyFileSync(join(MIGRATIONS, name), join(migrations, name));
  const client = new pg.Client(config);
  await client.connect();
  try {
    await migrate(client, pathToFileURL(`${migrations}/`));
    await client.query("set session_replication_role = replica");
    for (const [table, rows] of Object.entries(kept.tables)) {
      if (table === "migrations") continue;
      const name = pg.escapeIdentifier(table);
      await client.query(`delete from ${name}`);
      for (const row of rows) {
        await client.query(
          `insert into ${name} overriding system value select * from jsonb_populate_record(null::${name}, $1)`,
          [JSON.stringify(row)],
        );
      }
    }
    // Rows written with their numbers leave the counters behind, which a living database never has.
    const { rows: counted } = await client.query<{ table_name: string; column_name: string }>(
      "select table_name, column_name from information_schema.columns where is_identity = 'YES' and table_schema = 'public'",
    );
    for (const { table_name: table, column_name: column } of counted)
      await client.query(
        `select setval(pg_get_serial_sequence($1, $2), (select coalesce(max(${pg.escapeIdentifier(column)}), 0) + 1 from ${pg.escapeIdentifier(table)}), false)`,
        [table, column],
      );
  } finally {
    await client.end();
  }
}
