// SPDX-License-Identifier: Apache-2.0
/** The embedded server with control's database in it. */
import pg from "pg";
import type { Layout } from "./layout.ts";
import { type RunningPostgres, startPostgres } from "./postgres.ts";

const NAME = "casemate";

export async function startDatabase(layout: Layout): Promise<RunningPostgres> {
  const { owners } = layout;
  const caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, name: "casemate-operator" };
  const server = await startPostgres({
    folder: layout.path("postgres"),
    owner: owners === null ? null : owners.database,
    clients: owners === null ? [caller] : [caller, { ...owners.control, name: "casemate-control" }],
  });
  try {
    const client = new pg.Client({ host: server.host, user: server.user, database: "postgres" });
    await client.connect();
    const { rowCount } = await client.query("select from pg_database where datname = $1", [NAME]);
    if (rowCount === 0) await client.query(`create database ${NAME}`);
    await client.end();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}
