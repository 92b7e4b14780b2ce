// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { expect, it } from "vitest";
import { startInstallation } from "#testing/installation.ts";
import { unavailable } from "./open.ts";

it("a connection lost between two statements of a transaction fails the next statement, not the process", async () => {
  await using installation = await startInstallation({ withHost: false });
  const { db } = installation.control;
  const lost = db.write(async (tx) => {
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(tx);
    await sql`select pg_terminate_backend(${rows[0]!.pid})`.execute(db.run);
    await sleep(200); // the server's word arrives while nothing is asked
    await sql`select 1`.execute(tx);
  });
  const error = await lost.catch((caught: unknown) => caught);
  expect(unavailable(error)?.code).toBe("platform.database-unavailable");
  expect(await db.ping()).toBe(true);
});
