// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the state of a release for the tests of the next ones: every row of a running installation's
 * database and its key ring, as one JSON file. `node scripts/keep-release.ts <state> <session> <key>`,
 * for a throw-away installation: the file holds all its secrets.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import pkg from "#package.json" with { type: "json" };

const [state, session, key] = process.argv.slice(2);
if (state === undefined || session === undefined || key === undefined) {
  console.error("usage: node scripts/keep-release.ts <state folder> <ended session> <its account's key>");
  process.exit(2);
}
const client = new pg.Client({
  host: join(state, "postgres/socket"),
  user: "casemate",
  database: "casemate",
});
await client.connect();
const { rows } = await client.query<{ name: string }>(
  "select tablename as name from pg_tables where schemaname = 'public' and tablename not in ('rate_windows', 'idempotency') order by 1",
);
const tables: Record<string, unknown[]> = {};
for (const { name } of rows) {
  const { rows: held } = await client.query<{ row: unknown }>(
    `select to_jsonb(t) as row from ${pg.escapeIdentifier(name)} t`,
  );
  tables[name] = held.map(({ row }) => row);
}
await client.end();
const folder = new URL("../testing/releases/", import.meta.url).pathname;
mkdirSync(folder, { recursive: true });
const kept = {
  release: pkg.version,
  session,
  key,
  keyRing: readFileSync(join(state, "control/kek"), "utf8"),
  tables,
};
writeFileSync(join(folder, `${pkg.version}.json`), `${JSON.stringify(kept, null, 1)}\n`);
console.log(
  `${pkg.version}: ${Object.entries(tables)
    .map(([name, held]) => `${name} ${held.length}`)
    .join(", ")}`,
);
