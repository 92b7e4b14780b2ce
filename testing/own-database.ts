// SPDX-License-Identifier: Apache-2.0
/** A test file's own database, open from the first line to the last test: `const { db } = await ownDatabase(4)`. */
import { afterAll } from "vitest";
import { type Database, openDatabase } from "#control/src/database/open.ts";
import { type ClonedDatabase, cloneDatabase } from "./clone-database.ts";

export async function ownDatabase(poolMax: number): Promise<{ db: Database; cloned: ClonedDatabase }> {
  const cloned = await cloneDatabase();
  const db = await openDatabase({ connection: { ...cloned }, poolMax, onError: () => {} });
  afterAll(async () => {
    await db.close();
    await cloned[Symbol.asyncDispose]();
  });
  return { db, cloned };
}
