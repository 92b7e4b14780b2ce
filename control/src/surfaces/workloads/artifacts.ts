// SPDX-License-Identifier: Apache-2.0
/**
 * Versions of what workloads run on. A version is a release: a host brings the one of its own, and which of those are
 * offered is the operator's choice. The measured guest image of a release has its version; without one that is built here a
 * version is for containers only.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { disableArtifact, enableArtifact, listArtifacts } from "#contract/workloads/catalogue.ts";
import type { GuestImages } from "../../core/attestation/index.ts";
import { listIssuers } from "../../core/proofs/index.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";

const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/;

interface ArtifactRow {
  version: string;
  built_at: Date;
}

export async function list(
  { db, guestImages }: Pick<Deps, "db" | "guestImages">,
  _call: Call<typeof listArtifacts>,
): Promise<Answer> {
  const { rows } = await sql<ArtifactRow>`select version, built_at from artifacts where enabled`.execute(
    db.soft,
  );
  const sorted = rows.sort((a, b) => compareVersions(b.version, a.version));
  return { status: 200, body: sorted.map((row) => view(row, guestImages)) };
}

/** What is offered from now on is looked at: whoever wrote to the images' folder meanwhile did not sign it. */
export async function enable(
  { db, guestImages }: Pick<Deps, "db" | "guestImages">,
  call: Call<typeof enableArtifact>,
): Promise<Answer> {
  const { version } = call.body;
  requireSemver(version);
  const known = await sql`select from artifacts where version = ${version}`.execute(db.soft);
  if (known.rows.length === 0) throw new Fault("artifact.not-found");
  const detail = await guestImages.faultOf(version, await listIssuers(db.soft));
  if (detail !== null) throw new Fault("artifact.image-altered", { version, detail });
  return { status: 200, body: view(await change(db.run, version, true), guestImages) };
}

export async function disable({ db }: Pick<Deps, "db">, call: Call<typeof disableArtifact>): Promise<Answer> {
  await change(db.run, call.body.version, false);
  return { status: 200, body: {} };
}

async function change(db: Db, version: string, enabled: boolean): Promise<ArtifactRow> {
  requireSemver(version);
  const { rows } = await sql<ArtifactRow>`
    update artifacts set enabled = ${enabled} where version = ${version} returning version, built_at`.execute(
    db,
  );
  if (rows[0] === undefined) throw new Fault("artifact.not-found");
  return rows[0];
}

export async function requireOffered(db: Db, version: string): Promise<void> {
  requireSemver(version);
  const { rows } = await sql`select from artifacts where version = ${version} and enabled`.execute(db);
  if (rows.length === 0) throw new Fault("artifact.not-found");
}

/** What this installation's hosts bring with them. */
export async function offerArtifact(db: Database, version: string): Promise<void> {
  await sql`insert into artifacts (version, built_at) values (${version}, now()) on conflict do nothing`.execute(
    db.run,
  );
}

export const isSemver = (version: string): boolean => SEMVER.test(version);

export function requireSemver(version: string): void {
  if (!isSemver(version)) throw new Fault("artifact.not-semver");
}

function view({ version, built_at }: ArtifactRow, guestImages: GuestImages) {
  const found = guestImages.ofVersion(version);
  const image = found && {
    ...{ name: found.metadata.name, sha256: found.sha256 },
    sizeBytes: Object.values(found.metadata.files).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  };
  return { version, builtAt: built_at.toISOString(), image };
}

/** Precedence of Semantic Versioning 2.0.0, section 11. */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [a.match(SEMVER), b.match(SEMVER)];
  if (!x || !y) return a < b ? -1 : a > b ? 1 : 0;
  for (const part of [1, 2, 3]) {
    const difference = Number(x[part]) - Number(y[part]);
    if (difference !== 0) return difference;
  }
  if (x[4] === undefined || y[4] === undefined) return x[4] === y[4] ? 0 : x[4] === undefined ? 1 : -1;
  const [left, right] = [x[4].split("."), y[4].split(".")];
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const [l, r] = [left[at], right[at]];
    if (l === r) continue;
    if (l === undefined || r === undefined) return l === undefined ? -1 : 1;
    const [ln, rn] = [/^\d+$/.test(l), /^\d+$/.test(r)];
    if (ln && rn) return Number(l) - Number(r);
    if (ln !== rn) return ln ? -1 : 1;
    return l < r ? -1 : 1;
  }
  return 0;
}
