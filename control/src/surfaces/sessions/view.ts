// SPDX-License-Identifier: Apache-2.0
/** A session as the wire shows it. Members that do not apply are absent. */
import type { Static } from "typebox";
import type { Session } from "#contract/sessions/vocabulary.ts";
import type { SessionRow } from "./rows.ts";
import { wireTime } from "./time.ts";

export function viewSession(row: SessionRow): Static<typeof Session> {
  const ended = row.ended_at !== null;
  return {
    session_id: row.id,
    status: row.status as Static<typeof Session>["status"],
    ttl_seconds: row.ttl_seconds,
    created_at: wireTime(row.created_at),
    data_classification: row.data_classification as Static<typeof Session>["data_classification"],
    ...(row.expires_at !== null && !ended ? { expires_at: wireTime(row.expires_at) } : {}),
    ...(row.ended_at !== null ? { ended_at: wireTime(row.ended_at) } : {}),
    ...(ended && row.end_trigger !== null
      ? { end_reason: row.end_trigger as NonNullable<Static<typeof Session>["end_reason"]> }
      : {}),
  };
}

export const etagOf = (row: SessionRow): string => `"${row.id}.${row.version}"`;
