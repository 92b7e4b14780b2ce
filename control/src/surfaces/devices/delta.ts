// SPDX-License-Identifier: Apache-2.0
/** What is wanted of a server and was not in what it said of itself; a server that says nothing lacks all. */
import { isDeepStrictEqual } from "node:util";
import { sql } from "kysely";
import type { Static } from "typebox";
import type { Delta, ServerSettings } from "#contract/devices/vocabulary.ts";
import type { Db } from "../../database/open.ts";

export interface Wanted {
  id: string;
  runtime_wanted: string | null;
  settings: Static<typeof ServerSettings>;
}

/** `reported` is whatever the server put there. */
export async function deltaOf(
  db: Db,
  { id, runtime_wanted, settings }: Wanted,
  reported: Record<string, unknown>,
): Promise<Static<typeof Delta>> {
  const { rows } = await sql<{ id: string; pipelines_version: number }>`
    select id, pipelines_version from devices where server_id = ${id} order by id`.execute(db);
  const has = isObject(reported.Devices) ? reported.Devices : {};
  const wanted = new Set(rows.map((row) => row.id));
  const devices = rows.filter((row) => has[row.id] !== row.pipelines_version);
  const surplus = Object.keys(has).filter((uuid) => !wanted.has(uuid));
  return {
    ...(runtime_wanted !== null && reported.Runtime !== runtime_wanted && { Runtime: runtime_wanted }),
    ...(!isDeepStrictEqual(reported.Settings ?? {}, settings) && { Settings: settings }),
    ...(devices.length > 0 && {
      Devices: devices.map((row) => ({ UUID: row.id, PipelinesVersion: row.pipelines_version })),
    }),
    ...(surplus.length > 0 && { Surplus: surplus.slice(0, SURPLUS_MAX) }),
  };
}

/** A report may name anything, and its answer must not grow with that. */
const SURPLUS_MAX = 1000;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
