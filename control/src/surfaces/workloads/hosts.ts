// SPDX-License-Identifier: Apache-2.0
/** Hosts as the operator sees them, and what anyone may know of them: the certificates, and whether there are any. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { HostFacts } from "#contract/link/machine.ts";
import type { getMetal, listMetal } from "#contract/workloads/catalogue.ts";
import type { caCertificate, health as healthOperation } from "#contract/workloads/workloads.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
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
}

type Needs = Pick<Deps, "db" | "workloads">;

export async function list(deps: Needs, _call: Call<typeof listMetal>): Promise<Answer> {
  const { rows } = await sql<HostRow>`select * from hosts order by created_at, id`.execute(deps.db.soft);
  return { status: 200, body: rows.map((row) => view(row, deps.workloads.zone)) };
}

export async function get(deps: Needs, call: Call<typeof getMetal>): Promise<Answer> {
  const id = `host_${call.params.id.replaceAll("-", "").toLowerCase()}`;
  const { rows } = await sql<HostRow>`select * from hosts where id = ${id}`.execute(deps.db.soft);
  if (rows[0] === undefined) throw new Fault("host.not-found");
  return { status: 200, body: view(rows[0], deps.workloads.zone) };
}

const view = (row: HostRow, zone: string) => ({
  metalInstanceId: hostUuid(row.id),
  hostname: row.facts.ingress?.host ?? "",
  agentVersion: row.facts.version,
  publicIp: row.facts.ingress?.host ?? "",
  domain: hostDomain(row.id, zone),
  memoryMb: { reserved: row.memory_used, total: row.memory_mib },
  cpus: { reserved: Math.floor(row.cpu_used / 1000), total: Math.floor(row.cpu_millis / 1000) },
  diskSpaceGb: { reserved: Math.floor(row.disk_used / 1024), total: Math.floor(row.disk_mib / 1024) },
  gpus: 0,
  availableArtifactVersions: [row.facts.version],
  isolations: row.facts.drivers.filter(({ ready }) => ready).map(({ isolation }) => isolation),
  lastSeenAt: row.last_seen.toISOString(),
  createdAt: row.created_at.toISOString(),
});

export async function ca({ fleet }: Pick<Deps, "fleet">, _call: Call<typeof caCertificate>): Promise<Answer> {
  const all = new Set(
    fleet.facts().flatMap(({ ingress }) => (ingress === undefined ? [] : [ingress.caPem.trim()])),
  );
  return { status: 200, bytes: Buffer.from([...all, ""].join("\n")), mediaType: "application/x-pem-file" };
}

export async function health(
  { fleet }: Pick<Deps, "fleet">,
  _call: Call<typeof healthOperation>,
): Promise<Answer> {
  const kept = fleet
    .facts()
    .flatMap(({ drivers }) => drivers.filter(({ isolation }) => isolation !== "process"));
  const ready = kept.filter((driver) => driver.ready);
  return {
    status: 200,
    body: {
      status: "ok",
      hosts: fleet.held().length,
      isolations: [...new Set(ready.map(({ isolation }) => isolation))],
      missing: [...new Set(kept.flatMap(({ missing }) => missing ?? []))],
    },
  };
}
