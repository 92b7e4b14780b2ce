// SPDX-License-Identifier: Apache-2.0
/** Models as rows with what hangs on them, and as the wire shows them. */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Report } from "#models/job.ts";
import type { Actor } from "../../core/identity/index.ts";
import { catalogueSeen, functionSeen, type Viewer } from "../../core/models/index.ts";
import type { Db, Tx } from "../../database/open.ts";

export interface Described {
  InputDriver: string;
  InputDriverDetails: Record<string, unknown>;
  OutputDriver: string;
  OutputDriverDetails: Record<string, unknown>;
  SourceName: string;
  SourceUrl: string;
  Site: string;
}

export interface ArtifactRow {
  id: string;
  number: number;
  media_type: string;
  sha256: string;
  size_bytes: number;
  key_id: string;
  signature: string;
  deviation: object | null;
  created_at: string;
}

export interface FunctionRow {
  id: string;
  party_id: string;
  party_name: string;
  name: string;
  alias: string;
  documentation: string;
  customization: string;
  kind: string;
  described: Described;
  tags: string[];
  targets: string[];
  latest: number;
  status: string;
  version: number;
  created_at: Date;
  updated_at: Date;
  report: Report | null;
  repaired: Report | null;
  aliases: Record<string, number> | null;
  catalogues: { UUID: string; Name: string }[] | null;
  artifacts: ArtifactRow[] | null;
  records: number;
}

/** Of artefact `a`, as JSON. */
export const artifactJson = sql`json_build_object(
  'id', a.id, 'number', a.number, 'media_type', a.media_type, 'sha256', encode(a.digest, 'hex'), 'size_bytes', a.size_bytes,
  'key_id', a.key_id, 'signature', encode(a.signature, 'base64'), 'deviation', a.deviation,
  'created_at', to_char(a.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))`;

export async function findFunctions(
  db: Db | Tx,
  actor: Viewer,
  condition: RawBuilder<unknown>,
  page: { limit: number; offset: number; order: RawBuilder<unknown> } | null = null,
): Promise<FunctionRow[]> {
  const part = page === null ? sql`` : sql`order by ${page.order} limit ${page.limit} offset ${page.offset}`;
  const { rows } = await sql<FunctionRow>`
    with found as (
      select f.*, (count(*) over ())::int as records from functions f
      where ${functionSeen(actor)} and ${condition} ${part}
    )
    select f.*, p.name as party_name, v.report, v.repaired,
      (select json_object_agg(l.name, l.number) from function_aliases l where l.function_id = f.id) as aliases,
      (select json_agg(json_build_object('UUID', c.id, 'Name', c.name) order by c.name, c.id)
        from catalogue_functions cf join catalogues c on c.id = cf.catalogue_id
        where cf.function_id = f.id and ${catalogueSeen(actor)}) as catalogues,
      (select json_agg(${artifactJson} order by a.created_at, a.id)
        from function_artifacts a where a.function_id = f.id and a.number = f.latest) as artifacts
    from found f join parties p on p.id = f.party_id
    join function_versions v on v.function_id = f.id and v.number = f.latest
    ${page === null ? sql`` : sql`order by ${page.order}`}`.execute(db);
  return rows;
}

export async function requireFunction(db: Db | Tx, actor: Actor, id: string): Promise<FunctionRow> {
  const [row] = await findFunctions(db, actor, sql`f.id = ${id}`);
  if (row === undefined) throw new Fault("function.not-found", { uuid: id });
  return row;
}

/** D of visibility: what is seen and not one's own is not theirs to change. */
export async function requireOwn(db: Db | Tx, actor: Actor, id: string): Promise<FunctionRow> {
  const row = await requireFunction(db, actor, id);
  if (row.party_id !== actor.party.id) throw new Fault("models.not-owner", { uuid: id });
  return row;
}

export const downloadOf = (row: ArtifactRow) => ({
  UUID: row.id,
  MediaType: row.media_type,
  URL: `/cpt/artifact/${row.id}/content`,
  SHA256: row.sha256,
  Size: row.size_bytes,
  Signature: row.signature.replaceAll("\n", ""),
  KeyID: row.key_id,
});

export const artifactView = (row: ArtifactRow) => ({
  ...downloadOf(row),
  Target: row.media_type,
  Version: row.number,
  Status: "ok" as const,
  Deviation: row.deviation,
  CreatedAt: row.created_at,
});

export const ONNX = "application/x-onnx";
/** What was uploaded, as an artefact beside those that were made of it. */
export const isOriginal = (mediaType: string) => mediaType.includes("source=original");

export function functionView(row: FunctionRow) {
  const { described, artifacts } = row;
  const report = row.repaired ?? row.report;
  const code = artifacts?.find(({ media_type: type }) => type === ONNX);
  return {
    UUID: row.id,
    Name: row.name,
    Alias: row.alias,
    Documentation: row.documentation,
    Customization: row.customization,
    Kind: row.kind,
    InputDriver: described.InputDriver,
    InputDriverDetails: described.InputDriverDetails,
    OutputDriver: described.OutputDriver,
    OutputDriverDetails: described.OutputDriverDetails,
    NamedInput: report?.Inputs ?? [],
    NamedOutput: report?.Outputs ?? [],
    Classes: report?.Classes ?? [],
    EnableConversions: row.targets,
    Status: row.status,
    Code: { Status: row.status, CDNURI: code === undefined ? "" : downloadOf(code).URL },
    Downloads: (artifacts ?? []).map(downloadOf),
    Catalogues: row.catalogues ?? [],
    Tags: row.tags,
    Version: row.latest,
    Aliases: row.aliases ?? {},
    SourceName: described.SourceName,
    SourceUrl: described.SourceUrl,
    Organisation: { UUID: row.party_id, Name: row.party_name },
    CreatedAt: row.created_at.toISOString(),
    UpdatedAt: row.updated_at.toISOString(),
  };
}
