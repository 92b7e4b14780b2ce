// SPDX-License-Identifier: Apache-2.0
/**
 * Models in the form that devices read. Who asks without a key is anybody: they are told of models that
 * their owners show to everybody, and of others that there is none.
 */
import { type RawBuilder, sql } from "kysely";
import type { getDeviceModel } from "#contract/devices/models.ts";
import { Fault } from "#contract/errors.ts";
import type { Report } from "#models/job.ts";
import { functionSeen, publicFunction, viewerOf } from "../../core/models/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { DevicesDeps } from "./deps.ts";
import { findServer } from "./rows.ts";
import { ownArtifacts } from "./state.ts";

interface Row {
  id: string;
  name: string;
  documentation: string;
  described: {
    InputDriver: string;
    InputDriverDetails: Record<string, unknown>;
    OutputDriver: string;
    OutputDriverDetails: Record<string, unknown>;
  };
  number: number;
  updated_at: Date;
  report: Report | null;
}

interface ArtifactRow {
  id: string;
  media_type: string;
  digest: Buffer;
  size_bytes: number;
  signature: Buffer;
  key_id: string;
}

export async function get(
  { db }: Pick<DevicesDeps, "db">,
  call: Call<typeof getDeviceModel>,
): Promise<Answer> {
  const own = call.principal?.serverId ?? null;
  const server = own === null ? null : await findServer(db.soft, own);
  const seen: RawBuilder<unknown> =
    server === null
      ? publicFunction
      : sql`(${publicFunction} or ${functionSeen(viewerOf(server.party_id))} or exists (
          select from device_models m join devices d on d.id = m.device_id
          where m.function_id = f.id and d.server_id = ${server.id}))`;
  const { rows } = await sql<Row>`
    select f.id, f.name, f.documentation, f.described, f.updated_at, v.number, coalesce(v.repaired, v.report) as report
    from functions f
    join function_versions v on v.function_id = f.id and v.number = coalesce(
      (select l.number from function_aliases l where l.function_id = f.id and l.name = 'default'), f.latest)
    where f.id = ${call.params.id} and f.status = 'ok' and ${seen}`.execute(db.soft);
  const row = rows[0];
  if (row === undefined) throw new Fault("function.not-found", { uuid: call.params.id });
  const runs = server === null ? new Set<string>() : await ownArtifacts(db.soft, server);
  const { rows: artifacts } = await sql<ArtifactRow>`
    select id, media_type, digest, size_bytes, signature, key_id from function_artifacts
    where function_id = ${row.id} and number = ${row.number} order by created_at, id`.execute(db.soft);
  const { described, report } = row;
  return {
    status: 200,
    body: {
      ...{ UUID: row.id, Name: row.name, Documentation: row.documentation },
      ...{ InputDriver: described.InputDriver, InputDriverDetails: described.InputDriverDetails },
      ...{ OutputDriver: described.OutputDriver, OutputDriverDetails: described.OutputDriverDetails },
      ...{ NamedInput: report?.Inputs ?? [], NamedOutput: report?.Outputs ?? [] },
      Downloads: artifacts.map((one) => ({
        ...{ UUID: one.id, MediaType: one.media_type },
        URL:
          server !== null && runs.has(one.id)
            ? `/dev/server/${server.id}/artifact/${one.id}/content`
            : `/cpt/artifact/${one.id}/content`,
        ...{ SHA256: one.digest.toString("hex"), Size: one.size_bytes },
        ...{ Signature: one.signature.toString("base64"), KeyID: one.key_id },
      })),
      UpdatedAt: row.updated_at.toISOString(),
    },
  };
}
