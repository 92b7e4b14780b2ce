// SPDX-License-Identifier: Apache-2.0
/**
 * What a server and its owner tell each other: the wish goes down with a number, and what is of it goes
 * up with the number that was taken over. A server that was away misses nothing: it asks for the whole.
 */
import { sql } from "kysely";
import type * as contract from "#contract/devices/servers.ts";
import { Fault } from "#contract/errors.ts";
import { digestOf } from "../../blobs/digest.ts";
import { serveBlob } from "../../blobs/serve.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { matchesEtag } from "../../http/etag.ts";
import { deltaOf, type Wanted } from "./delta.ts";
import type { DevicesDeps } from "./deps.ts";
import { runtimeOf } from "./models.ts";
import { devicesOfServer, requireOwnServer, type ServerRow } from "./rows.ts";
import { tellStandings, UNTOLD } from "./standing.ts";

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
  const { rows: seen } = await sql<{ untold: boolean }>`
    update servers sv set last_seen = now() where id = ${own}
      and (last_seen is null or last_seen < now() - make_interval(secs => ${SEEN_EVERY_S}::int))
    returning ${UNTOLD} as untold`.execute(db.soft);
  if (own !== null && seen[0]?.untold === true) await tellStandings({ db }, own);
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
      Settings: server.settings,
      Devices: devices.map((device) => ({
        UUID: device.id,
        NxID: `{${device.nx_id}}`,
        Name: device.name,
        Enabled: device.enabled,
        Active: device.active,
        PipelinesVersion: device.pipelines_version,
        Pipelines: device.pipelines,
      })),
    },
    Manifest: { Artefacts: (await artifactsOf(db.soft, server)).map((row) => viewArtifact(row, server)) },
  };
}

interface ArtifactRow {
  id: string;
  function_id: string;
  number: number;
  name: string;
  described: { InputDriverDetails?: Record<string, unknown>; OutputDriverDetails?: Record<string, unknown> };
  media_type: string;
  digest: Buffer;
  size_bytes: number;
  signature: Buffer;
  key_id: string;
}

/**
 * Of each model that a device of the server runs, what its runtime takes best. That the device's owner may
 * see the model was looked at when it was saved; what runs is not taken away when a catalogue is closed.
 */
async function artifactsOf(db: Db, server: ServerRow): Promise<ArtifactRow[]> {
  const targets = targetsOf(server);
  const { rows } = await sql<ArtifactRow>`
    select distinct on (a.function_id, a.number) a.id, a.function_id, a.number, f.name, f.described,
      a.media_type, a.digest, a.size_bytes, a.signature, a.key_id
    from ${OWN_ARTIFACTS(server.id, targets)}
    order by a.function_id, a.number, array_position(${targets}::text[], a.media_type), a.created_at desc, a.id`.execute(
    db,
  );
  return rows;
}

const targetsOf = ({ facts, runtime_wanted }: ServerRow) => runtimeOf(facts, runtime_wanted)?.Targets ?? [];

const OWN_ARTIFACTS = (server: string, targets: string[]) => sql`
  devices d join device_models m on m.device_id = d.id
  join functions f on f.id = m.function_id
  join function_artifacts a on a.function_id = m.function_id and a.number = m.number
  where d.server_id = ${server} and a.media_type = any(${targets}::text[])`;

/** All whose bytes the server may have (getArtifact). */
export async function ownArtifacts(db: Db, server: ServerRow): Promise<Set<string>> {
  const { rows } = await sql<{ id: string }>`
    select distinct a.id from ${OWN_ARTIFACTS(server.id, targetsOf(server))}`.execute(db);
  return new Set(rows.map(({ id }) => id));
}

const viewArtifact = (row: ArtifactRow, server: ServerRow) => ({
  UUID: row.id,
  Function: row.function_id,
  Version: row.number,
  Name: row.name,
  InputDriverDetails: row.described.InputDriverDetails ?? {},
  OutputDriverDetails: row.described.OutputDriverDetails ?? {},
  MediaType: row.media_type,
  URL: `/dev/server/${server.id}/artifact/${row.id}/content`,
  SHA256: row.digest.toString("hex"),
  Size: row.size_bytes,
  Signature: row.signature.toString("base64"),
  KeyID: row.key_id,
});

/**
 * Only of what the server is to run: its key opens no catalogue. Not only what the wish names now: another may
 * have been made since the server read it, and its wish would fail for that.
 */
export async function getArtifact(
  { db, store, log }: Pick<DevicesDeps, "db" | "store" | "log">,
  call: Call<typeof contract.getOwnArtifact>,
): Promise<Answer> {
  const server = await requireOwnServer(db.soft, call.principal?.serverId ?? null, call.params.id);
  const { rows } = await sql<Pick<ArtifactRow, "digest" | "size_bytes">>`
    select a.digest, a.size_bytes from ${OWN_ARTIFACTS(server.id, targetsOf(server))}
    and a.id = ${call.params.artifact} limit 1`.execute(db.soft);
  const row = rows[0];
  const blob =
    row === undefined ? null : { digest: digestOf(row.digest), sizeBytes: row.size_bytes, headers: {} };
  const served = blob === null ? null : await serveBlob(store, blob, call.headers);
  if (served?.status === 304) return { status: 304, headers: served.headers };
  if (served !== null) return served;
  if (blob !== null) log.error({ digest: blob.digest }, "the bytes of an artefact are lost");
  throw new Fault("function.artifact-not-found", { uuid: call.params.artifact });
}

export async function putReported(
  { db }: Pick<DevicesDeps, "db">,
  call: Call<typeof contract.putReported>,
): Promise<Answer> {
  const server = await requireOwnServer(db.run, call.principal?.serverId ?? null, call.params.id);
  const { Version: version, Health = server.health, Errors = [], Reported = {}, Facts = {} } = call.body;
  // Who does not say what was tried has tried what runs.
  const { Tried = version, FailedDevices = [] } = call.body;
  const { rows } = await sql<Wanted & { desired_version: number; untold: boolean }>`
    update servers sv set reported_version = ${version}, tried_version = ${Tried},
      failed_devices = ${FailedDevices}::uuid[], health = ${Health}, errors = ${JSON.stringify(Errors)}::jsonb,
      reported = ${JSON.stringify(Reported)}::jsonb, facts = facts || ${JSON.stringify(Facts)}::jsonb, last_seen = now()
    where id = ${server.id} returning id, desired_version, runtime_wanted, settings, ${UNTOLD} as untold`.execute(
    db.run,
  );
  const [wanted] = rows;
  // It was put out meanwhile.
  if (wanted === undefined) throw new Fault("server.not-found", { uuid: server.id });
  if (wanted.untold === true) await tellStandings({ db }, server.id);
  const Delta = await deltaOf(db.run, wanted, Reported);
  return { status: 200, body: { DesiredVersion: wanted.desired_version, Delta } };
}
