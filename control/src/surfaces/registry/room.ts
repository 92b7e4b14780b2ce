// SPDX-License-Identifier: Apache-2.0
/**
 * What an account may store. Bytes are reserved before they are taken in, in the statement that asks
 * whether they still fit, so that many uploads at once get no more than one.
 *
 * The same layer in two repositories counts in both: what is shared below is ours to know.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db } from "../../database/open.ts";
import type { RegistryConfig } from "./deps.ts";

/** Of a body whose length nobody said, so much is reserved at a time. */
const SLICE = 4 * 1024 * 1024;
/** The smallest thing takes a file and some rows. */
const LEAST = 4_096;

export const mostOf = ({ bytesPerAccount }: RegistryConfig): number =>
  bytesPerAccount ?? Number.MAX_SAFE_INTEGER;

/** What an object of this size counts. */
export const chargeOf = (size: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`greatest(${size}, ${LEAST}::bigint)`;

/** Makes sure that an upload may grow to so many bytes; `expected` is what its sender announced. */
export async function reserve(
  db: Db,
  upload: { id: string; account: string; reserved: number },
  sizeBytes: number,
  expected: number,
  most: number,
): Promise<number> {
  if (sizeBytes <= upload.reserved) return upload.reserved;
  const more = Math.max(expected, sizeBytes) - upload.reserved;
  const wanted = expected >= sizeBytes ? Math.max(more, LEAST) : Math.max(more, SLICE);
  // Towards the end of the room a slice may be too much where the bytes themselves are not.
  for (const bytes of new Set([wanted, Math.max(sizeBytes - upload.reserved, LEAST)])) {
    if (bytes > most) continue;
    const { rows } = await sql<{ reserved_bytes: number }>`
      with upload as (select id from registry_uploads where id = ${upload.id} for update),
      usage as (
        insert into registry_usage as u (account_id, bytes) select ${upload.account}, ${bytes}::bigint from upload
        on conflict (account_id) do update set bytes = u.bytes + excluded.bytes where u.bytes + excluded.bytes <= ${most}::bigint
        returning 1
      )
      update registry_uploads set reserved_bytes = reserved_bytes + ${bytes}::bigint
      from usage where id = ${upload.id} returning reserved_bytes`.execute(db);
    if (rows[0] !== undefined) return rows[0].reserved_bytes;
  }
  throw full(most);
}

/**
 * Clause `usage`: what a new row adds, from clause `fresh` (size_bytes). With `refusal` in the same
 * statement nothing of it happens when that does not fit.
 */
export const usageClause = (account: string, most: number): RawBuilder<unknown> => sql`
  usage as (
    insert into registry_usage as u (account_id, bytes)
    select ${account}, ${chargeOf(sql`size_bytes`)} from fresh where ${chargeOf(sql`size_bytes`)} <= ${most}::bigint
    on conflict (account_id) do update set bytes = u.bytes + excluded.bytes where u.bytes + excluded.bytes <= ${most}::bigint
    returning 1
  )`;

export const refusal = sql`
  case when exists (select from fresh) and not exists (select from usage) then refuse('limit') end`;

/** Clause `freed`: gives back what the rows of clause `gone` (size_bytes) took. */
export const freeClause = (account: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  freed as (
    update registry_usage set bytes = bytes - (select coalesce(sum(${chargeOf(sql`size_bytes`)}), 0) from gone)
    where account_id = ${account} and exists (select from gone) returning 1
  )`;

export const full = (most: number): Fault =>
  new Fault("registry.limit", {
    detail: `The account stores at most ${most} bytes here; remove manifests that are not needed.`,
  });
