// SPDX-License-Identifier: Apache-2.0
/**
 * Who sees which models and catalogues, as conditions of SQL: every look-up has one, so that what belongs to
 * another tenant is not there.
 *
 *  A. A party sees its own. A person in their own name sees those of their organizations too.
 *  B. A catalogue shows its models to everybody (`public`), or to the parties it names (`organization`).
 *  C. What was withdrawn (withdrawn.ts) nobody sees.
 *  D. Only the owner changes anything, acting as the owner.
 */
import { type RawBuilder, sql } from "kysely";
import type { Actor } from "../identity/index.ts";

export interface Viewer extends Pick<Actor, "kind" | "id"> {
  party: Pick<Actor["party"], "kind" | "id">;
}

/** Who looks with the eyes of one organization, such as whoever gives its devices their models. */
export const viewerOf = (party: string): Viewer => ({
  ...{ kind: "client", id: "" },
  party: { kind: "organization", id: party },
});

/** A: `column` is one of the caller's own parties. */
export function isOurs({ kind, id, party }: Viewer, column: string): RawBuilder<boolean> {
  const own = sql<boolean>`${sql.ref(column)} = ${party.id}`;
  if (kind !== "user" || party.kind !== "user") return own;
  return sql<boolean>`(${own} or ${sql.ref(column)} in (
    select m.party_id from members m join parties o on o.id = m.party_id and o.kind = 'organization' and o.deleted_at is null
    where m.user_id = ${id}))`;
}

/** B, of catalogue `c`. */
export const catalogueSeen = (
  actor: Viewer,
): RawBuilder<boolean> => sql<boolean>`(${isOurs(actor, "c.party_id")}
  or c.visibility = 'public'
  or (c.visibility = 'organization' and exists (
    select from catalogue_guests g where g.catalogue_id = c.id and ${isOurs(actor, "g.party_id")})))`;

/** Of function `f`: shown to everybody, whoever they are. */
export const publicFunction: RawBuilder<boolean> = sql<boolean>`(f.withdrawn_at is null and exists (
  select from catalogue_functions cf join catalogues c on c.id = cf.catalogue_id
  where cf.function_id = f.id and c.visibility = 'public'))`;

/** Of function `f`. */
export const functionSeen = (
  actor: Viewer,
): RawBuilder<boolean> => sql<boolean>`(f.withdrawn_at is null and (${isOurs(actor, "f.party_id")}
  or exists (
    select from catalogue_functions cf join catalogues c on c.id = cf.catalogue_id
    where cf.function_id = f.id and ${catalogueSeen(actor)})))`;
