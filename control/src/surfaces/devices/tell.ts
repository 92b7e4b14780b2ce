// SPDX-License-Identifier: Apache-2.0
/**
 * Telling a server that it is to do something else: its wish gets the next number in the transaction
 * that changes it, and whoever waits for it is woken.
 *
 *  A. The row of a server is locked before those of its devices, always; several servers in the order of
 *     their ids. Whoever changes a device begins here.
 *  B. A server that was put out meanwhile is missing here, before anything of it is written.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { JOURNAL_CHANNEL } from "../../core/journal/index.ts";
import type { Tx } from "../../database/open.ts";

/** Answers the number of each server's wish from now on. */
export async function tellServers(
  tx: Tx,
  account: string,
  servers: readonly string[],
): Promise<Map<string, number>> {
  const ids = [...new Set(servers)];
  const { rows } = await sql<{ id: string; desired_version: number }>`
    with locked as (select id from servers where id = any(${ids}::uuid[]) order by id for update),
    told as (
      update servers sv set desired_version = desired_version + 1 from locked where sv.id = locked.id returning sv.id, desired_version
    )
    select id, desired_version, pg_notify(${JOURNAL_CHANNEL}, ${account} || ' ' || id) from told`.execute(tx);
  if (rows.length < ids.length) throw new Fault("server.not-found");
  return new Map(rows.map((row) => [row.id, row.desired_version]));
}
