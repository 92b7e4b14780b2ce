// SPDX-License-Identifier: Apache-2.0
/**
 * What a server and its owner tell each other: the wish goes down with a number, and what is of it goes
 * up with the number that was taken over. A server that was away misses nothing: it asks for the whole.
 */
import { sql } from "kysely";
import type * as contract from "#contract/devices/servers.ts";
import type { Answer, Call } from "../../http/call.ts";
import { matchesEtag } from "../../http/etag.ts";
import type { DevicesDeps } from "./deps.ts";
import { devicesOfServer, requireOwnServer, type ServerRow } from "./rows.ts";

/** Nobody needs to know to the second when a server was last heard of. */
const SEEN_EVERY_S = 10;
/** The hint may have been lost. */
const LOOK_AGAIN_MS = 5_000;

export async function getState(
  { db, feed }: Pick<DevicesDeps, "db" | "feed">,
  call: Call<typeof contract.getState>,
): Promise<Answer> {
  const own = call.principal?.serverId ?? null;
  const deadline = performance.now() + (call.query.wait ?? 0) * 1000;
  await sql`
    update servers set last_seen = now() where id = ${own}
      and (last_seen is null or last_seen < now() - make_interval(secs => ${SEEN_EVERY_S}::int))`.execute(
    db.soft,
  );
  for (;;) {
    const server = await requireOwnServer(db.soft, own, call.params.id);
    const etag = `"${server.desired_version}"`;
    if (!matchesEtag(call.headers["if-none-match"], etag))
      return { status: 200, body: await wishOf({ db }, server), headers: { etag } };
    const left = deadline - performance.now();
    if (left <= 0 || call.signal.aborted) return { status: 304, headers: { etag } };
    await feed.wait(server.id, Math.min(left, LOOK_AGAIN_MS), call.signal);
  }
}

/** The number was read before the rest, so what changes in between is asked for again. */
async function wishOf({ db }: Pick<DevicesDeps, "db">, server: ServerRow) {
  const devices = await devicesOfServer(db.soft, server.id);
  return {
    Version: server.desired_version,
    Desired: {
      Runtime: server.runtime_wanted,
      Devices: devices.map((device) => ({
        UUID: device.id,
        NxID: `{${device.nx_id}}`,
        Name: device.name,
        Enabled: device.enabled,
        Active: device.active,
      })),
    },
  };
}

export async function putReported(
  { db }: Pick<DevicesDeps, "db">,
  call: Call<typeof contract.putReported>,
): Promise<Answer> {
  const server = await requireOwnServer(db.run, call.principal?.serverId ?? null, call.params.id);
  const { Version: version, Health = server.health, Errors = [], Reported = {}, Facts = {} } = call.body;
  const { rows } = await sql<{ desired_version: number }>`
    update servers set reported_version = ${version}, health = ${Health}, errors = ${JSON.stringify(Errors)}::jsonb,
      reported = ${JSON.stringify(Reported)}::jsonb, facts = facts || ${JSON.stringify(Facts)}::jsonb, last_seen = now()
    where id = ${server.id} returning desired_version`.execute(db.run);
  return { status: 200, body: { DesiredVersion: rows[0]?.desired_version ?? 0 } };
}
