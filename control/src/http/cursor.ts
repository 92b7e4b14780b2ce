// SPDX-License-Identifier: Apache-2.0
/** Where a page of rows ordered by (created_at, id) ended, as text that clients give back unread. */
import { Fault } from "#contract/errors.ts";

export interface Cursor {
  createdAt: string;
  id: string;
}

export const cursorAt = (row: { created_at: Date; id: string }): string =>
  Buffer.from(`${row.created_at.toISOString()}|${row.id}`).toString("base64url");

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

export function parseCursor(cursor: string, id: RegExp): Cursor {
  const [createdAt = "", itsId = "", ...more] = Buffer.from(cursor, "base64url")
    .toString("latin1")
    .split("|");
  const instant = new Date(createdAt);
  // Dates that only look like dates (31 February) come back as others.
  const isDate =
    INSTANT.test(createdAt) && !Number.isNaN(instant.getTime()) && instant.toISOString() === createdAt;
  if (!isDate || !id.test(itsId) || more.length > 0)
    throw new Fault("request.invalid", { detail: "cursor is not one of ours" });
  return { createdAt, id: itsId };
}
