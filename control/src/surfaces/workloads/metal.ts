// SPDX-License-Identifier: Apache-2.0
/**
 * Hosts as this surface has them. A host speaks for itself alone: the id in its request must be the one
 * that its key was made for, and another's is answered like one that never was.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { HostFacts } from "#contract/link/machine.ts";
import type * as contract from "#contract/workloads/metal.ts";
import { heardOverHttp, putOut, type Registered, registerHost } from "../../core/fleet/index.ts";
import { ADDRESS_OF_HOST } from "../../core/ingress/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { insertSubmitted } from "./events.ts";
import { hostDomain, hostUuid } from "./view.ts";

interface HostRow {
  id: string;
  facts: HostFacts;
  cpu_millis: number;
  memory_mib: number;
  disk_mib: number;
  cpu_used: number;
  memory_used: number;
  disk_used: number;
  created_at: Date;
  last_seen: Date;
  registered: Registered | null;
}

type Needs = Pick<Deps, "db" | "workloads">;

export async function list(deps: Needs, _call: Call<typeof contract.listMetal>): Promise<Answer> {
  const { rows } =
    await sql<HostRow>`select * from hosts where revoked_at is null order by created_at, id`.execute(
      deps.db.soft,
    );
  return { status: 200, body: rows.map((row) => view(row, deps.workloads.zone)) };
}

export async function get(deps: Needs, call: Call<typeof contract.getMetal>): Promise<Answer> {
  return { status: 200, body: await one(deps, hostIdOf(call.params.id)) };
}

async function one({ db, workloads }: Needs, id: string) {
  const { rows } = await sql<HostRow>`select * from hosts where id = ${id} and revoked_at is null`.execute(
    db.run,
  );
  if (rows[0] === undefined) throw new Fault("host.not-found");
  return view(rows[0], workloads.zone);
}

const view = (row: HostRow, zone: string) => ({
  metalInstanceId: hostUuid(row.id),
  hostname: row.registered?.hostname ?? row.facts.ingress?.host ?? "",
  agentVersion: row.registered?.agentVersion ?? row.facts.version,
  publicIp: row.registered?.publicIp ?? row.facts.ingress?.host ?? "",
  domain: hostDomain(row.id, zone),
  memoryMb: { reserved: row.memory_used, total: row.memory_mib },
  cpus: { reserved: Math.floor(row.cpu_used / 1000), total: Math.floor(row.cpu_millis / 1000) },
  diskSpaceGb: { reserved: Math.floor(row.disk_used / 1024), total: Math.floor(row.disk_mib / 1024) },
  gpus: row.registered?.gpus ?? 0,
  availableArtifactVersions: row.registered?.artifactVersions ?? [row.facts.version],
  isolations: row.facts.drivers.filter(({ ready }) => ready).map(({ isolation }) => isolation),
  lastSeenAt: row.last_seen.toISOString(),
  createdAt: row.created_at.toISOString(),
});

const hostIdOf = (uuid: string): string => `host_${uuid.replaceAll("-", "").toLowerCase()}`;

/** The operator may speak for any host. */
function requireOwn({ principal }: Call, metalInstanceId: string): string {
  const hostId = hostIdOf(metalInstanceId);
  const own = principal?.hostId ?? null;
  if (own !== null && own !== hostId) throw new Fault("host.not-found");
  return hostId;
}

export async function register(deps: Needs, call: Call<typeof contract.registerMetal>): Promise<Answer> {
  const { metalInstanceId, token, cpus, memoryMb, diskSpaceGb, ...said } = call.body;
  const hostId = requireOwn(call as Call, metalInstanceId);
  const byOperator = call.principal?.hostId === null;
  if (!byOperator) await requireSameAddress(deps, hostId, said.publicIp);
  const free = ({ reserved, total }: { reserved: number; total: number }, what: string, unit: number) => {
    const left = (total - reserved) * unit;
    if (left >= 0 && left < 2 ** 31) return left;
    throw new Fault("request.invalid", {
      detail: `${what}: reserved is more than total, or total too large`,
    });
  };
  await registerHost(deps.db.run, {
    ...{ hostId, token, mayBeNew: byOperator },
    said: {
      ...{ hostname: said.hostname, agentVersion: said.agentVersion, gpus: said.gpus },
      ...(byOperator ? { publicIp: said.publicIp } : {}),
      ...(said.gpuModel === undefined ? {} : { gpuModel: said.gpuModel }),
    },
    cpuMillis: free(cpus, "cpus", 1000),
    memoryMiB: free(memoryMb, "memoryMb", 1),
    diskMiB: free(diskSpaceGb, "diskSpaceGb", 1024),
  });
  return { status: 200, body: await one(deps, hostId) };
}

/**
 * Names of workloads and of customers' domains lead to this address. Whoever took a host's key for HTTP,
 * which is a file and no more, would take all its visitors with it, and certificates for their names.
 */
async function requireSameAddress({ db }: Needs, hostId: string, publicIp: string): Promise<void> {
  const { rows } = await sql<{ address: string }>`
    select ${ADDRESS_OF_HOST} as address from hosts h where id = ${hostId} and revoked_at is null`.execute(
    db.run,
  );
  if (rows[0] === undefined) throw new Fault("host.not-found");
  if (rows[0].address !== publicIp)
    throw new Fault("request.invalid", {
      detail:
        "publicIp: where a host is reached is for the operator to say; register it with the operator's key",
    });
}

export async function heartbeat({ db }: Needs, call: Call<typeof contract.heartbeatMetal>): Promise<Answer> {
  const { metalInstanceId, availableArtifactVersions } = call.body;
  await heardOverHttp(db.run, requireOwn(call as Call, metalInstanceId), availableArtifactVersions);
  const { rows } = await sql<{ version: string }>`
    select version from artifacts where enabled order by version`.execute(db.soft);
  return {
    status: 200,
    body: { metalInstanceId, expectedArtifactVersions: rows.map(({ version }) => version) },
  };
}

export async function remove({ db }: Needs, call: Call<typeof contract.deleteMetal>): Promise<Answer> {
  const id = hostIdOf(call.body.metalInstanceId);
  const { rows } = await sql<{ count: number }>`
    select (select count(*) from machines where host_id = h.id and surface = 'workloads' and want <> 'down'
      and state not in ('ended', 'failed')) as count
    from hosts h where id = ${id} and revoked_at is null`.execute(db.run);
  if (rows[0] === undefined) throw new Fault("host.not-found");
  if (rows[0].count > 0) throw new Fault("host.has-workloads", { count: rows[0].count });
  // One that comes to it in this moment is moved on, like those of any host that is put out.
  await putOut(db.run, id);
  return { status: 200, body: {} };
}

export async function submit({ db }: Needs, call: Call<typeof contract.submitEvent>): Promise<Answer> {
  const { workloadId, event } = call.body;
  const known = await insertSubmitted(db.run, call.principal!.hostId!, workloadId, event);
  if (!known) throw new Fault("workload.not-found");
  return { status: 200, body: {} };
}
