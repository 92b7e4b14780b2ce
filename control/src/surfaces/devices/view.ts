// SPDX-License-Identifier: Apache-2.0
/** Sites, servers, devices and groups as the wire shows them. */
import { hash } from "node:crypto";
import type { Static } from "typebox";
import type { Device, Group, Server, System } from "#contract/devices/vocabulary.ts";
import { runtimeOf } from "./models.ts";
import type { DeviceRow, GroupRow, ServerRow, SiteRow } from "./rows.ts";

/** Of what counts its changes, for its ETag. */
export const versionOf = ({ id, version }: { id: string; version: number }): string => `${id}.${version}`;
/** Of what does not: what can be changed of it. */
export const versionOfServer = ({ id, name, runtime_wanted }: ServerRow): string =>
  `${id}.${wordOf([name, runtime_wanted])}`;
export const versionOfGroup = ({ id, name }: GroupRow): string => `${id}.${wordOf(name)}`;
const wordOf = (value: unknown) => hash("sha256", JSON.stringify(value), "base64url").slice(0, 11);

const statusOf = (online: boolean) => (online ? ("online" as const) : ("offline" as const));
const instants = ({ created_at, updated_at }: { created_at: Date; updated_at: Date }) => ({
  CreatedAt: created_at.toISOString(),
  UpdatedAt: updated_at.toISOString(),
});

export const viewSystem = (row: SiteRow): Static<typeof System> => ({
  ID: row.id,
  Name: row.name,
  Organisation: { UUID: row.party_id, Name: row.party },
  Status: statusOf(row.online),
  ServerCount: row.servers,
  DeviceCount: row.devices,
  LastSeen: row.last_seen?.toISOString() ?? null,
  ...instants(row),
});

export const viewServer = (row: ServerRow): Static<typeof Server> => ({
  ID: row.id,
  Name: row.name,
  System: { ID: row.site_id, Name: row.site },
  Status: statusOf(row.online),
  Health: row.health,
  Version: row.facts.Version ?? "",
  AIPluginVersion: row.facts.AIPluginVersion ?? "",
  Runtime: row.facts.Runtime ?? null,
  RuntimeWanted: row.runtime_wanted,
  AvailableRuntimes: row.facts.AvailableRuntimes ?? [],
  Preprocessors: row.facts.Preprocessors ?? [],
  Postprocessors: row.facts.Postprocessors ?? [],
  Supports: row.facts.Supports ?? { Pipelines: false },
  Settings: row.settings,
  DesiredVersion: row.desired_version,
  ReportedVersion: row.reported_version,
  Errors: row.errors,
  LastSeen: row.last_seen?.toISOString() ?? null,
  ...instants(row),
});

export const viewDevice = (row: DeviceRow): Static<typeof Device> => ({
  UUID: row.id,
  NxID: `{${row.nx_id}}`,
  V2: { id: `{${row.nx_id}}` },
  Name: row.name,
  Serial: row.serial,
  Type: row.type,
  Tags: row.tags,
  Enabled: row.enabled,
  Active: row.active,
  Runtime: row.runtime_wanted ?? runtimeOf(row.server_facts, null)?.Name ?? null,
  System: { ID: row.site_id, Name: row.site },
  Server: {
    ID: row.server_id,
    Name: row.server,
    Status: statusOf(row.online),
    AIPluginVersion: row.server_facts.AIPluginVersion ?? "",
    Supports: row.server_facts.Supports ?? { Pipelines: false },
  },
  Groups: row.groups ?? [],
  nxAI: { pipelines: row.pipelines },
  PipelinesVersion: row.pipelines_version,
  DesiredVersion: row.desired_version,
  ReportedVersion: row.reported_version,
  Health: row.health,
  ...instants(row),
});

export const viewGroup = (row: GroupRow): Static<typeof Group> => ({
  UUID: row.id,
  Name: row.name,
  DeviceCount: row.devices,
  ...instants(row),
});

export const gone = (id: string) => ({ status: 200, body: { Message: "It is gone.", UUID: id } });
