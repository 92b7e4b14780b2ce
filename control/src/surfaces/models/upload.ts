// SPDX-License-Identifier: Apache-2.0
/** Models come in: the first version of one, and later ones. What is in the file is found out afterwards. */
import { sql } from "kysely";
import type { Static } from "typebox";
import { Fault } from "#contract/errors.ts";
import { createFunction, type patchFunction } from "#contract/models/functions.ts";
import { CreateData, PatchData } from "#contract/models/vocabulary.ts";
import { TARGETS } from "#models/job.ts";
import { bringUpload } from "../../blobs/bring.ts";
import { digestBytes } from "../../blobs/digest.ts";
import { append } from "../../core/journal/index.ts";
import { addArtifact, enqueue } from "../../core/models/index.ts";
import type { Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion } from "../../http/etag.ts";
import { once, seededUuid } from "../../http/idempotency.ts";
import { placeIn, placeOnlyIn } from "./catalogues.ts";
import type { ModelsDeps } from "./deps.ts";
import { type Uploaded, withForm } from "./form.ts";
import { type Described, type FunctionRow, functionView, requireOwn } from "./rows.ts";

type Create = Static<typeof CreateData>;
type Patch = Static<typeof PatchData>;

export function create(deps: ModelsDeps, call: Call<typeof createFunction>): Promise<Answer> {
  return withForm<Create, Answer>(deps, call, CreateData, async ({ data, file }) => {
    if (data === null) throw new Fault("request.invalid", { detail: "The form has no data.", field: "data" });
    if (file === null) throw new Fault("request.invalid", { detail: "The form has no file.", field: "file" });
    requireTargets(deps, data.EnableConversions);
    // The bytes are read by now, so what was asked for is known by them; what is not used of them is dropped.
    const asked = { data, sha256: file.stored.digest, format: file.format };
    return once(deps, call, createFunction.id, () => made(deps, call, data, file), asked);
  });
}

async function made(
  deps: ModelsDeps,
  call: Call<typeof createFunction>,
  data: Create,
  file: Uploaded,
): Promise<Answer> {
  const id = seededUuid(call.seed);
  await bringUpload(deps, file.upload, file.stored);
  const queue = await deps.work.queue();
  const { party, name } = call.actor;
  await deps.db.write(async (tx) => {
    const { rows: first } = await sql`with ${call.once} select from once`.execute(tx);
    // This very request made it, and its process died before it could say so.
    if (first.length === 0) return;
    await sql`
      insert into functions (id, party_id, name, alias, documentation, customization, kind, described, tags, targets)
      values (${id}, ${party.id}, ${data.Name}, ${data.Alias ?? ""}, ${data.Documentation ?? ""}, ${data.Customization ?? ""},
        ${data.Kind ?? "other"}, ${JSON.stringify(describedOf(data, null))}, ${data.Tags ?? []},
        ${data.EnableConversions ?? [TARGETS.onnx]})`.execute(tx);
    await addVersion(tx, deps, { id, number: 1, file, by: name, notes: data.Notes ?? "" });
    await sql`insert into function_aliases values (${id}, 'default', 1)`.execute(tx);
    await enqueue(tx, queue, {
      ...{ functionId: id, number: 1, target: null, options: {}, external: false, party: party.id },
    });
    await append(tx, {
      ...{ account: call.account.id, type: "model.uploaded", subject: id },
      payload: { by: call.actor.id, version: 1, sha256: file.stored.digest, size: file.stored.sizeBytes },
    });
    await placeIn(tx, call, id, data.Catalogues ?? []);
  });
  return answerOf(await requireOwn(deps.db.run, call.actor, id), 201);
}

export function patch(deps: ModelsDeps, call: Call<typeof patchFunction>): Promise<Answer> {
  const id = call.params.uuid.toLowerCase();
  return withForm<Patch, Answer>(deps, call, PatchData, async ({ data, file }) => {
    requireTargets(deps, data?.EnableConversions);
    const before = await requireOwn(deps.db.run, call.actor, id);
    if (file !== null) await bringUpload(deps, file.upload, file.stored);
    const queue = file === null ? null : await deps.work.queue();
    await deps.db.write(async (tx) => {
      const { rows } = await sql<{ version: number; latest: number; described: Described }>`
        select version, latest, described from functions where id = ${id} and party_id = ${call.actor.party.id} for update`.execute(
        tx,
      );
      const row = rows[0];
      if (row === undefined) throw new Fault("function.not-found", { uuid: id });
      requireVersion(call.headers, row.version);
      const number = file === null ? row.latest : row.latest + 1;
      const given = data ?? {};
      await sql`
        update functions set version = version + 1, latest = ${number}, updated_at = date_trunc('milliseconds', now()),
          name = ${given.Name ?? before.name}, alias = ${given.Alias ?? before.alias},
          documentation = ${given.Documentation ?? before.documentation},
          customization = ${given.Customization ?? before.customization}, kind = ${given.Kind ?? before.kind},
          described = ${JSON.stringify(describedOf(given, row.described))}, tags = ${given.Tags ?? before.tags},
          targets = ${given.EnableConversions ?? before.targets}, status = ${file === null ? before.status : "new"}
        where id = ${id}`.execute(tx);
      const { account, actor } = call;
      if (file !== null && queue !== null) {
        await addVersion(tx, deps, { id, number, file, by: actor.name, notes: given.Notes ?? "" });
        await enqueue(tx, queue, {
          ...{ functionId: id, number, target: null, options: {}, external: false, party: actor.party.id },
        });
        const { digest: sha256, sizeBytes: size } = file.stored;
        const payload = { by: actor.id, version: number, sha256, size };
        await append(tx, { account: account.id, type: "model.uploaded", subject: id, payload });
      }
      const changed = Object.keys(given).filter((name) => name !== "Notes" && name !== "Catalogues");
      if (changed.length > 0) {
        const payload = { by: actor.id, changed };
        await append(tx, { account: account.id, type: "model.changed", subject: id, payload });
      }
      if (given.Catalogues !== undefined) await placeOnlyIn(tx, call, id, given.Catalogues);
    });
    return answerOf(await requireOwn(deps.db.run, call.actor, id), 200);
  });
}

function answerOf(row: FunctionRow, status: number): Answer {
  const body = functionView(row);
  const location = status === 201 ? { location: `/cpt/function/${row.id}` } : {};
  return { status, body, headers: { etag: etagOf(row.version, body), ...location } };
}

/** Of what is not given, what was before. */
function describedOf(given: Patch, before: Described | null): Described {
  return {
    InputDriver: given.InputDriver ?? before?.InputDriver ?? "vision",
    InputDriverDetails: given.InputDriverDetails ?? before?.InputDriverDetails ?? {},
    OutputDriver: given.OutputDriver ?? before?.OutputDriver ?? "vision",
    OutputDriverDetails: given.OutputDriverDetails ?? before?.OutputDriverDetails ?? {},
    SourceName: given.SourceName ?? before?.SourceName ?? "",
    SourceUrl: given.SourceUrl ?? before?.SourceUrl ?? "",
    Site: given.Site ?? before?.Site ?? "",
  };
}

export function requireTargets(
  { config }: Pick<ModelsDeps, "config">,
  targets: readonly string[] = [],
): void {
  const known = new Set<string>([...Object.values(TARGETS), ...config.externalTargets]);
  const other = targets.find((target) => !known.has(target));
  if (other !== undefined)
    throw new Fault("request.invalid", {
      detail: `Nothing here makes ${other.slice(0, 100)}; GET /cpt/configuration says what can be made.`,
      field: "EnableConversions",
    });
}

const ORIGINALS = {
  onnx: "application/x-onnx; source=original",
  ort: "application/x-ort; source=original",
  tflite: "application/x-tensorflow-lite; type=float32; source=original",
  zip: "application/zip; source=original",
} as const;

interface NewVersion {
  id: string;
  number: number;
  file: Uploaded;
  by: string;
  notes: string;
}

async function addVersion(tx: Tx, deps: ModelsDeps, { id, number, file, by, notes }: NewVersion) {
  const digest = digestBytes(file.stored.digest);
  await sql`
    insert into function_versions (function_id, number, digest, sha256, size_bytes, format, notes, created_by)
    values (${id}, ${number}, ${digest}, ${digest}, ${file.stored.sizeBytes}, ${file.format}, ${notes}, ${by})`.execute(
    tx,
  );
  await addArtifact(tx, deps, {
    ...{ functionId: id, number, mediaType: ORIGINALS[file.format], stored: file.stored },
    ...{ options: {}, deviation: null },
  });
}
