// SPDX-License-Identifier: Apache-2.0
/** A database of a test file's own, cloned from the run's template and dropped afterwards. */
import { randomBytes } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";

export interface ClonedDatabase extends AsyncDisposable {
  host: string;
  user: string;
  database: string;
}

export async function cloneDatabase(): Promise<ClonedDatabase> {
  const { host, user } = inject("postgres");
  const database = `test_${randomBytes(6).toString("hex")}`;
  const admin = async (text: string) => {
    const client = new pg.Client({ host, user, database: "postgres" });
    await client.connect();
    await client.query(text).finally(() => client.end());
  };
  await admin(`create database ${database} template casemate_template strategy wal_log`);
  return {
    host,
    user,
    database,
    [Symbol.asyncDispose]: () => admin(`drop database ${database} with (force)`),
  };
}
