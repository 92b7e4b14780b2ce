// SPDX-License-Identifier: Apache-2.0
/**
 * Compilers that run elsewhere: a worker takes a job, reads the model as any client does, and hands in what it
 * made. A lease is a secret of its own, kept as its SHA-256; who has lost it (its time is over, another has the
 * job, it was cancelled) can hand in nothing. Database time decides.
 */
import { createHash, randomBytes } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/models/conversions.ts";
import { UPLOAD_MAX } from "#contract/models/vocabulary.ts";
import { addArtifact, finish, type Held, keepFile, settled, tell } from "../../core/models/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { conversionView, requireConversion } from "./conversions.ts";
import type { ModelsDeps } from "./deps.ts";
import { type ArtifactRow, artifactJson, artifactView, downloadOf } from "./rows.ts";

const hashOf = (lease: string) => createHash("sha256").update(lease).digest();

export async function lease(deps: ModelsDeps, call: Call<typeof contract.leaseConversion>): Promise<Answer> {
  const { db, config } = deps;
  const secret = randomBytes(24).toString("base64url");
  const taken = await db.write(async (tx) => {
    const { rows } = await sql<{
      id: string;
      function_id: string;
      target: string;
      until: Date;
      source: ArtifactRow;
    }>`
      with chosen as (
        select c.id from conversions c join functions f on f.id = c.function_id
        where c.external and f.party_id = ${call.actor.party.id} and c.target = any(${call.body.Targets})
          and (c.status = 'queued' or (c.status = 'processing' and c.lease_until < now()))
        order by c.created_at, c.id limit 1 for update of c skip locked
      )
      update conversions c set status = 'processing', attempt = attempt + 1, held_by = ${call.actor.id},
        lease_hash = ${hashOf(secret)}, lease_until = now() + make_interval(secs => ${config.leaseMs / 1000}), started_at = now()
      from chosen where c.id = chosen.id
      returning c.id, c.function_id, c.target, c.lease_until as until,
        (select ${artifactJson} from function_artifacts a where a.function_id = c.function_id and a.number = c.number
          order by (a.media_type = 'application/x-onnx') desc, a.created_at limit 1) as source`.execute(tx);
    const row = rows[0];
    if (row !== undefined)
      await tell(
        tx,
        { id: row.id, account: call.account.id, target: row.target, functionId: row.function_id },
        ...(["processing", 0, "taken by a worker"] as const),
      );
    return row;
  });
  if (taken === undefined) return { status: 204 };
  const { URL, SHA256, Size, MediaType } = downloadOf(taken.source);
  return {
    status: 200,
    body: {
      Conversion: conversionView(await requireConversion(db.run, call.actor, taken.id)),
      Source: { URL, SHA256, Size, MediaType },
      Lease: secret,
      ExpiresAt: taken.until.toISOString(),
    },
  };
}

export async function putArtifact(
  deps: ModelsDeps,
  call: Call<typeof contract.putArtifact>,
): Promise<Answer> {
  const { db } = deps;
  const row = await requireConversion(db.run, call.actor, call.params.uuid);
  const hash = hashOf(String(call.headers["x-lease"] ?? ""));
  // Looked at before a byte is read, and again when it counts.
  await requireLease(deps, row.id, hash);
  const stored = await keepFile(deps, call.stream, Math.min(UPLOAD_MAX, deps.config.uploadBytesMax));
  if (stored.sizeBytes === 0) throw new Fault("request.invalid", { detail: "An artefact has bytes." });
  const artifact = await db.write(async (tx) => {
    const { rows } = await sql<{ attempt: number }>`
      select attempt from conversions
      where id = ${row.id} and status = 'processing' and lease_hash = ${hash} and lease_until > now() for update`.execute(
      tx,
    );
    if (rows[0] === undefined) throw new Fault("conversion.lease", { uuid: row.id });
    const id = await addArtifact(tx, deps, {
      ...{ functionId: row.function_id, number: row.number, mediaType: row.target, stored },
      ...{ options: row.options, deviation: null },
    });
    const held: Held = {
      ...{
        id: row.id,
        attempt: rows[0].attempt,
        functionId: row.function_id,
        number: row.number,
        target: row.target,
      },
      ...{ options: row.options, format: "", digest: null, party: row.party_id, account: row.account_id },
    };
    const outcome = { status: "ok", log: `a worker made ${stored.sizeBytes} bytes`, artifactId: id } as const;
    await finish(tx, held, outcome);
    await settled(tx, held, outcome);
    const found = await sql<{ artifact: ArtifactRow }>`
      select ${artifactJson} as artifact from function_artifacts a where a.id = ${id}`.execute(tx);
    return found.rows[0]!.artifact;
  });
  return { status: 201, body: artifactView(artifact) };
}

async function requireLease({ db }: ModelsDeps, id: string, hash: Buffer): Promise<void> {
  const { rows } = await sql`
    select 1 from conversions
    where id = ${id} and status = 'processing' and lease_hash = ${hash} and lease_until > now()`.execute(
    db.run,
  );
  if (rows.length === 0) throw new Fault("conversion.lease", { uuid: id });
}
