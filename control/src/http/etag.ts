// SPDX-License-Identifier: Apache-2.0
/**
 * Strong ETags of single items: `"version.rest"`. The version counts what somebody changed, the rest tells
 * apart all that is shown. So a copy is old as soon as anything of it is (a status, when it was last heard
 * of), and If-Match, which names the version, is not failed by what changes by itself.
 */
import { hash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { Fault } from "#contract/errors.ts";
import type { Answer } from "./call.ts";

export const etagOf = (version: string | number, shown: unknown): string =>
  `"${version}.${hash("sha256", JSON.stringify(shown), "base64url").slice(0, 22)}"`;

/** The item, or that it is as whoever asks has it. */
export function shown(headers: IncomingHttpHeaders, version: string | number, body: object): Answer {
  const etag = etagOf(version, body);
  if (matchesEtag(headers["if-none-match"], etag)) return { status: 304, headers: { etag } };
  return { status: 200, body, headers: { etag } };
}

/**
 * RFC 9110 13.1.1, by strong comparison, so a weak tag matches nothing. If-Match is optional: without it the
 * last write wins.
 */
export function requireVersion(headers: IncomingHttpHeaders, version: string | number): void {
  const given = headers["if-match"];
  if (given === undefined) return;
  const tags = given.split(",").map((part) => part.trim());
  const fits = (tag: string) => tag === "*" || tag === `"${version}"` || tag.startsWith(`"${version}.`);
  if (!tags.some(fits)) throw new Fault("request.precondition");
}

/** If-None-Match (RFC 9110 13.1.2): a list, `*`, or weak forms all count, by weak comparison. */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header
    .split(",")
    .map((part) => part.trim().replace(/^W\//, ""))
    .some((part) => part === "*" || part === etag);
}
