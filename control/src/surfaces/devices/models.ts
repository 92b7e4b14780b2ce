// SPDX-License-Identifier: Apache-2.0
/** What is known of the models that a device is to run, as its owner may see them. */
import { sql } from "kysely";
import { classesOf, inputRoleOf, outputRoleOf, parseIoName } from "#models/io-name.ts";
import type { Report } from "#models/job.ts";
import { functionSeen, viewerOf } from "../../core/models/index.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { KnownModel, KnownServer, KnownVersion } from "./checks.ts";
import type { ServerFacts } from "./rows.ts";

interface Row {
  id: string;
  name: string;
  status: string;
  default_version: number;
  versions: { number: number; report: Report; artifacts: string[] }[] | null;
}

export async function knownModels(
  db: Db | Tx,
  party: string,
  ids: readonly string[],
): Promise<Map<string, KnownModel>> {
  if (ids.length === 0) return new Map();
  const { rows } = await sql<Row>`
    select f.id, f.name, f.status,
      coalesce((select number from function_aliases l where l.function_id = f.id and l.name = 'default'), f.latest) as default_version,
      (select json_agg(json_build_object('number', v.number, 'report', coalesce(v.repaired, v.report), 'artifacts',
          (select coalesce(json_agg(a.media_type), '[]') from function_artifacts a
            where a.function_id = f.id and a.number = v.number)))
        from function_versions v where v.function_id = f.id and coalesce(v.repaired, v.report) is not null) as versions
    from functions f where f.id = any(${[...new Set(ids)]}::uuid[]) and ${functionSeen(viewerOf(party))}
    -- In a save's transaction: nobody deletes one between this look and the end of it.
    order by f.id for key share of f`.execute(db);
  return new Map(rows.map((row) => [row.id, knownModel(row)]));
}

const knownModel = ({ name, status, default_version, versions }: Row): KnownModel => ({
  ...{ name, ok: status === "ok", defaultVersion: default_version },
  versions: new Map(
    (versions ?? [])
      .filter(({ report }) => report.Conforms)
      .map(({ number, report, artifacts }) => [number, knownVersion(report, artifacts)]),
  ),
});

function knownVersion(report: Report, artifacts: string[]): KnownVersion {
  const names = (tensors: Report["Inputs"]) =>
    tensors.map(({ Name }) => parseIoName(Name)).flatMap((parsed) => (parsed.ok ? [parsed.name] : []));
  const inputs = names(report.Inputs);
  const outputs = names(report.Outputs);
  const alarms = outputs.filter((name) => outputRoleOf(name) === "alarm").map(classesOf);
  return {
    takesNms: inputs.some((name) => inputRoleOf(name) === "nms_sensitivity"),
    outputs: outputs.map((name) => outputRoleOf(name) ?? name.head),
    classes: report.Classes,
    alarms: alarms.flatMap((classes) => (classes.ok ? classes.classes : [])),
    artifacts,
  };
}

/** The runtime that it is to use, or uses; null while it has not said which it has. */
export function runtimeOf(facts: ServerFacts, wanted: string | null): ServerFacts["Runtime"] | null {
  const chosen = facts.AvailableRuntimes?.find(({ Name }) => Name === wanted);
  return chosen ?? facts.Runtime ?? facts.AvailableRuntimes?.[0] ?? null;
}

export const knownServer = (facts: ServerFacts, wanted: string | null): KnownServer => ({
  supportsPipelines: facts.Supports?.Pipelines ?? false,
  targets: runtimeOf(facts, wanted)?.Targets ?? null,
  preprocessors: facts.Preprocessors ?? [],
  postprocessors: facts.Postprocessors ?? [],
});
