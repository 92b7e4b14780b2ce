// SPDX-License-Identifier: Apache-2.0
/** The embedded server with control's database in it. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Layout } from "./layout.ts";
import { type RunningPostgres, startPostgres } from "./postgres.ts";

const NAME = "casemate";

export async function startDatabase(layout: Layout): Promise<RunningPostgres> {
  const { owners } = layout;
  const caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, name: "casemate-operator" };
  const server = await patiently(() =>
    startPostgres({
      folder: layout.path("postgres"),
      owner: owners === null ? null : owners.database,
      clients: owners === null ? [caller] : [caller, { ...owners.control, name: "casemate-control" }],
    }),
  );
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

const PATIENCE_MS = 15_000;

/**
 * A server that was just killed may be a zombie, or have workers that still hold its memory, for a
 * moment; PostgreSQL then refuses to start rather than risk the data, and is right. The state folder's
 * lock is ours, so nobody else's server can be meant, and waiting is all it takes.
 */
async function patiently<T>(start: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await start();
    } catch (error) {
      const dying = /another postmaster|pre-existing shared memory|lock file/.test(String(error));
      if (!dying || performance.now() > deadline) throw error;
      await sleep(200);
    }
  }
}
