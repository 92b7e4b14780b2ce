// SPDX-License-Identifier: Apache-2.0
/** Strong ETags of single items. If-Match is optional here: without it the last write wins. */
import type { IncomingHttpHeaders } from "node:http";
import { Fault } from "#contract/errors.ts";

interface Versioned {
  id: string;
  version: number;
}

export const tagged = ({ id, version }: Versioned): string => `"${id}.${version}"`;

/** RFC 9110 13.1.1: strong comparison, so a weak tag matches nothing. */
export function requireUnchanged(headers: IncomingHttpHeaders, row: Versioned): void {
  const given = headers["if-match"];
  if (given === undefined) return;
  const tags = given.split(",").map((part) => part.trim());
  if (!tags.includes("*") && !tags.includes(tagged(row))) throw new Fault("request.precondition");
}
