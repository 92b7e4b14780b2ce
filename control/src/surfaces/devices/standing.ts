// SPDX-License-Identifier: Apache-2.0
/**
 * How servers are, told to the journal when it changes: `server.health_changed`, `server.came_online`,
 * `server.went_offline`. What was told last is in the server's row, so whoever finds a difference, the server's
 * own call or a replica's turn, tells it, once.
 *
 *  A. Whoever holds a server's key could be well and ill in turns as often as it may call, and the journal is
 *     kept: its health is told once in ten seconds. What it was in between is left out, what it is now is not.
 *  B. Locks: server, then account (tell.ts). Only whose row is free: a turn waits for nobody.
 *  C. Of a fault nothing is told but that it is there: a server's words stay in its row, and go with it.
 */
import { sql } from "kysely";
import { append } from "../../core/journal/index.ts";
import type { Database } from "../../database/open.ts";
import { ONLINE } from "./rows.ts";

const HEALTH_EVERY_S = 10;
const SERVERS_MAX = 200;
const TURNS_MAX = 50;

/** For a server's own call: whether there is something to tell. */
export const UNTOLD = sql`(sv.online_told <> ${ONLINE} or (sv.health_told <> sv.health
  and sv.health_told_at < now() - make_interval(secs => ${sql.lit(HEALTH_EVERY_S)})))`;

interface Standing {
  id: string;
  account_id: string;
  online: boolean;
  online_told: boolean;
  health: string;
  health_told: string;
  health_due: boolean;
}

export async function standingsTurn({ db }: { db: Database }): Promise<void> {
  for (let turns = 0; turns < TURNS_MAX; turns++)
    if ((await tellStandings({ db }, null)) < SERVERS_MAX) return;
}

/** Null: of all servers, some. Answers of how many something was told. */
export async function tellStandings({ db }: { db: Database }, server: string | null): Promise<number> {
  return db.write(async (tx) => {
    const { rows } = await sql<Standing>`
      select sv.id, p.account_id, ${ONLINE} as online, sv.online_told, sv.health, sv.health_told,
        sv.health_told_at < now() - make_interval(secs => ${sql.lit(HEALTH_EVERY_S)}) as health_due
      from servers sv join sites s on s.id = sv.site_id join parties p on p.id = s.party_id
      where ${UNTOLD} and (${server}::uuid is null or sv.id = ${server}::uuid)
      order by sv.id limit ${SERVERS_MAX} for update of sv skip locked`.execute(tx);
    for (const row of rows) {
      const entry = { account: row.account_id, subject: row.id };
      if (row.online !== row.online_told) {
        const type = row.online ? "server.came_online" : "server.went_offline";
        await append(tx, { ...entry, type, payload: {} });
      }
      const news = row.health_due && row.health !== row.health_told;
      if (news) {
        const payload = { health: row.health, before: row.health_told };
        await append(tx, { ...entry, type: "server.health_changed", payload });
      }
      await sql`
        update servers set online_told = ${row.online}, health_told = ${news ? row.health : row.health_told},
          health_told_at = case when ${news} then now() else health_told_at end
        where id = ${row.id}`.execute(tx);
    }
    return rows.length;
  });
}
