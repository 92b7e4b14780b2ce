// SPDX-License-Identifier: Apache-2.0
/**
 * A workload as the wire shows it: what was asked for, with values of variables, bodies of files and
 * passwords redacted. Both families of names are given: that of the seed and its newer generation.
 */
import type { Static } from "typebox";
import type { Workload } from "#contract/workloads/vocabulary.ts";
import { MICROS_PER_USD, toUnits } from "../../core/ledger/index.ts";
import type { WorkloadsConfig } from "./deps.ts";
import type { WorkloadRow } from "./rows.ts";

const REDACTED = "***";
const redacted = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, REDACTED]));

export function viewWorkload(
  row: WorkloadRow,
  dockerCompose: string,
  config: WorkloadsConfig,
): Static<typeof Workload> {
  const { ingress } = row;
  const port = ingress?.httpsPort === 443 || !ingress ? "" : `:${ingress.httpsPort}`;
  return {
    workloadId: row.id,
    accountId: row.account_id,
    name: row.name,
    artifactsVersion: row.artifacts_version,
    dockerCompose,
    ...(row.env_names.length === 0 ? {} : { envVars: redacted(row.env_names) }),
    ...(row.file_names.length === 0 ? {} : { files: redacted(row.file_names) }),
    ...(row.registry_servers.length === 0
      ? {}
      : {
          dockerCredentials: row.registry_servers.map((server) => ({
            server,
            username: REDACTED,
            password: REDACTED,
          })),
        }),
    publicContainerName: row.public_service,
    publicContainerPort: row.public_port,
    serviceToExpose: row.public_service,
    servicePortToExpose: row.public_port,
    memory: row.memory_mb,
    cpus: row.cpus,
    disk: row.disk_gb,
    gpus: row.gpus,
    status: row.status as Static<typeof Workload>["status"],
    domain: row.custom_domain ?? row.domain,
    metalInstanceDomain: hostDomain(row.host_id ?? "", config.zone),
    isolation: row.isolation,
    ...(row.image_sha256 === null ? {} : { imageSha256: row.image_sha256 }),
    ...(row.sealed_env_names.length === 0 ? {} : { sealedEnv: row.sealed_env_names }),
    secrets: row.sealed_env_names.length === 0 ? "clear" : "sealed",
    creditRate: toUnits(row.cost_micros_per_min, config.microsPerCredit),
    usdCostPerMin: toUnits(row.cost_micros_per_min, MICROS_PER_USD),
    url: `https://${row.custom_domain !== null && row.custom_routed ? row.custom_domain : row.domain}${port}/`,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  };
}

/** The wire wants a UUID for a host; ours is the same 128 bits. */
export const hostUuid = (hostId: string): string => {
  const hex = hostId.replace(/^host_/, "").padEnd(32, "0");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    "-",
  );
};

export const hostDomain = (hostId: string, zone: string): string =>
  `${hostUuid(hostId).slice(0, 8)}.metal.${zone}`;
