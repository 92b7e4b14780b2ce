// SPDX-License-Identifier: Apache-2.0
/** If-None-Match (RFC 9110 13.1.2): a list, `*`, or weak forms all count, by weak comparison. */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header
    .split(",")
    .map((part) => part.trim().replace(/^W\//, ""))
    .some((part) => part === "*" || part === etag);
}
