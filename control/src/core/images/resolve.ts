// SPDX-License-Identifier: Apache-2.0
/**
 * What a name of an image means in this installation's registry, now: the digest under which it is the
 * same for ever. An image of another account is answered like a missing one.
 */
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";

export interface ResolvedImage {
  /** `<registry>/<repository>@sha256:…` */
  pinned: string;
  digest: string;
}

/**
 * `elsewhere` when the name is of another registry, `missing` when this one has no such image for the
 * account, and the image otherwise. `registry` is the name by which images say that they are here.
 */
export async function resolveImage(
  db: Db,
  ask: { account: string; registry: string; image: string },
): Promise<ResolvedImage | "elsewhere" | "missing"> {
  const { account, registry, image } = ask;
  if (!image.toLowerCase().startsWith(`${registry}/`)) return "elsewhere";
  const [name, digest] = image.slice(registry.length + 1).split("@") as [string, string | undefined];
  const colon = name.lastIndexOf(":");
  const tag = colon === -1 ? "latest" : name.slice(colon + 1);
  const repository = colon === -1 ? name : name.slice(0, colon);
  // With a digest the tag says nothing, here as for every registry.
  const wanted =
    digest === undefined
      ? sql`(select manifest from registry_tags t where t.repository_id = r.id and t.name = ${tag})`
      : sql`decode(${/^sha256:([0-9a-f]{64})$/.exec(digest)?.[1] ?? ""}, 'hex')`;
  const { rows } = await sql<{ digest: string }>`
    select encode(m.digest, 'hex') as digest
    from registry_repositories r join registry_manifests m on m.repository_id = r.id
    where r.account_id = ${account} and r.name = ${repository} and m.digest = ${wanted}`.execute(db);
  if (rows[0] === undefined) return "missing";
  const found = `sha256:${rows[0].digest}`;
  return { pinned: `${registry}/${repository}@${found}`, digest: found };
}
