// SPDX-License-Identifier: Apache-2.0
/**
 * Whose a path is. `/nilcc` is the attester's: what a verifier reads there must never come from the
 * workload it is about. The attacker owns a workload and a link that somebody else follows, spelt so
 * that we pass it on and the workload answers it as the attester would. So a path is read as the most
 * forgiving server would read it: percent-encoding undone as often as it was applied, backslashes as
 * slashes, empty segments, dots and `;parameters` gone. What is read as reserved in any of these ways is.
 */
const ATTESTER = "nilcc";
/** A verifier of domain control calls here; no workload may have a certificate signed for its domain. */
const ACME = [".well-known", "acme-challenge"];
const DECODED_TIMES_MAX = 4;

const TOKEN = /^\/\.well-known\/acme-challenge\/([A-Za-z0-9_-]{1,256})$/;

export type Path =
  | { owner: "attester"; url: string }
  /** The token as it was written, when the path is written in the one way that a verifier writes it. */
  | { owner: "verifier"; token: string | null }
  | { owner: "machine" };

export function ownerOf(url: string): Path {
  // Nearly every path: nothing in it that could be read in two ways.
  if (!url.includes("nilcc") && !url.includes(ACME[1]!) && !/[%\\]/.test(url)) return { owner: "machine" };
  const end = url.search(/[?#]/);
  const path = end < 0 ? url : url.slice(0, end);
  const segments = decoded(path)
    .replaceAll("\\", "/")
    .split("/")
    .map((segment) => segment.split(";", 1)[0]!)
    .filter((segment) => segment !== "" && segment !== ".");
  const resolved = withoutParents(segments);
  if (resolved[0] === ATTESTER || segments[0] === ATTESTER)
    return {
      owner: "attester",
      url: `/${resolved.map(encodeURIComponent).join("/")}${end < 0 ? "" : url.slice(end)}`,
    };
  const asksAcme = [segments, resolved].some((each) => ACME.every((name, index) => each[index] === name));
  return asksAcme ? { owner: "verifier", token: TOKEN.exec(path)?.[1] ?? null } : { owner: "machine" };
}

function decoded(path: string): string {
  let text = path;
  for (let times = 0; times < DECODED_TIMES_MAX; times++) {
    const next = text.replace(/%([0-7][0-9a-f])/gi, (_, hex: string) =>
      String.fromCharCode(parseInt(hex, 16)),
    );
    if (next === text) break;
    text = next;
  }
  return text;
}

function withoutParents(segments: readonly string[]): string[] {
  const kept: string[] = [];
  for (const segment of segments)
    if (segment === "..") kept.pop();
    else kept.push(segment);
  return kept;
}
