// SPDX-License-Identifier: Apache-2.0
/**
 * What a host says of itself over HTTP: where it is, how large it is, that it is there. The link says the
 * size of a host that is met there, and what is said here changes nothing of that.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db } from "../../database/open.ts";
import { hashKey, makeId, shownPrefix } from "../identity/index.ts";

export interface Registered {
  hostname: string;
  /** By the operator alone; what the host says is asked of nobody. */
  publicIp?: string;
  agentVersion: string;
  gpus: number;
  gpuModel?: string;
  artifactVersions?: string[];
}

export interface Registration {
  hostId: string;
  said: Registered;
  cpuMillis: number;
  memoryMiB: number;
  diskMiB: number;
  /** Its own key from now on; all others of it end. */
  token: string;
  /** False: only a host that is known. */
  mayBeNew: boolean;
}

export async function registerHost(db: Db, ask: Registration): Promise<void> {
  const { hostId, said, cpuMillis, memoryMiB, diskMiB, token, mayBeNew } = ask;
  const facts = {
    ...{ hostId, version: said.agentVersion, bootId: "", cpus: 0, memoryMiB: 0 },
    ...{ drivers: [], issuers: [], engines: {} },
  };
  const hash = hashKey(token);
  const { rows } = await sql<{ id: string | null; taken: boolean }>`
    with taken as (
      select from api_keys where hash = ${hash} and (host_id is distinct from ${hostId} or revoked_at is not null)
    ), host as (
      insert into hosts as h (id, facts, registered, cpu_millis, memory_mib, disk_mib)
      select ${hostId}, ${JSON.stringify(facts)}::jsonb, ${JSON.stringify(said)}::jsonb, ${cpuMillis}::int, ${memoryMiB}::int, ${diskMiB}::int
      where not exists (select from taken)
        and (${mayBeNew} or exists (select from hosts where id = ${hostId}))
      on conflict (id) do update set last_seen = now(),
        registered = coalesce(h.registered, '{}') || excluded.registered,
        cpu_millis = case when h.facts ? 'kept' then h.cpu_millis else excluded.cpu_millis end,
        memory_mib = case when h.facts ? 'kept' then h.memory_mib else excluded.memory_mib end,
        disk_mib = case when h.facts ? 'kept' then h.disk_mib else excluded.disk_mib end
      where h.revoked_at is null
      returning id
    ), others as (
      update api_keys set revoked_at = now() from host
      where host_id = host.id and revoked_at is null and hash <> ${hash}
    ), key as (
      insert into api_keys (id, account_id, surface, prefix, hash, scopes, host_id)
      select ${makeId("key")}, null, 'hosts', ${shownPrefix(token, "")}, ${hash}, array['hosts:own'], id from host
      on conflict (hash) do nothing
    )
    select (select id from host) as id, exists (select from taken) as taken`.execute(db);
  if (rows[0]!.taken) throw new Fault("host.token-taken");
  if (rows[0]!.id === null) throw new Fault("host.not-found");
}

export async function heardOverHttp(db: Db, hostId: string, artifactVersions: string[]): Promise<void> {
  const { rows } = await sql`
    update hosts set last_seen = now(),
      registered = coalesce(registered, '{}') || ${JSON.stringify({ artifactVersions })}::jsonb
    where id = ${hostId} and revoked_at is null returning id`.execute(db);
  if (rows.length === 0) throw new Fault("host.not-found");
}
