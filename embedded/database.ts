// SPDX-License-Identifier: Apache-2.0
/** The embedded server with control's database in it. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Layout } from "./layout.ts";
import { type RunningPostgres, startPostgres } from "./postgres.ts";

const NAME = "casemate";
/**
 * Control's role owns its database and is no superuser: a superuser can run programs and read files as
 * the server's uid, which owning control must not give.
 */
export const CONTROL_ROLE = "casemate_control";

export async function startDatabase(layout: Layout): Promise<RunningPostgres> {
  const { owners } = layout;
  const caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, name: "casemate-operator" };
  const server = await patiently(() =>
    startPostgres({
      folder: layout.path("postgres"),
      owner: owners === null ? null : owners.database,
      clients:
        owners === null
          ? [caller]
          : [caller, { ...owners.control, name: "casemate-control", role: CONTROL_ROLE }],
    }),
  );
  try {
    const client = new pg.Client({ host: server.host, user: server.user, database: "postgres" });
    await client.connect();
    const roles = await client.query("select from pg_roles where rolname = $1", [CONTROL_ROLE]);
    if (roles.rowCount === 0) await client.query(`create role ${CONTROL_ROLE} login`);
    const databases = await client.query("select from pg_database where datname = $1", [NAME]);
    if (databases.rowCount === 0) await client.query(`create database ${NAME} owner ${CONTROL_ROLE}`);
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
