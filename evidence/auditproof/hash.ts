// SPDX-License-Identifier: Apache-2.0
/** Hashes of the AuditProof format: SHA-512 as text, joined by zero bytes, and the trees made of them. */
import { canonicalJson } from "../proofs/hash.ts";
import { sha512, sha512Hex } from "../proofs/primitives.ts";

/** What the first link has for a predecessor, and the root over nothing. */
export const GENESIS = sha512Hex("");

/** Parts joined by a zero byte each. */
export const hashOf = (...parts: string[]): string => sha512Hex(parts.join("\0"));

/** Hash text without one leading prefix. What is no text equals no hash. */
export function bare(value: unknown): string {
  if (typeof value !== "string") return "";
  return value.startsWith("sha512:") ? value.slice("sha512:".length) : value;
}

export const textOr = (value: unknown, otherwise = ""): string =>
  typeof value === "string" ? value : otherwise;

/** RFC 8785. Parsed JSON always has that form. */
export const canonical = (value: unknown): string => canonicalJson(value as object);

/** Pairs hashed as text, level by level; an unpaired last one is paired with itself. Null over nothing. */
export function textRoot(leaves: readonly string[]): string | null {
  let level = [...leaves];
  if (level.length === 0) return null;
  while (level.length > 1) {
    const above: string[] = [];
    for (let at = 0; at < level.length; at += 2) above.push(hashOf(level[at]!, level[at + 1] ?? level[at]!));
    level = above;
  }
  return level[0]!;
}

/** The form of RFC 6962 over raw values with SHA-512: an unpaired last node moves up unchanged. Hex. */
export function rawRoot(chunks: readonly Uint8Array[]): string {
  const under = (first: number, ...parts: Uint8Array[]) => {
    const whole = new Uint8Array(1 + parts.reduce((sum, { length }) => sum + length, 0));
    whole[0] = first;
    let at = 1;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return sha512(whole);
  };
  let level = chunks.map((chunk) => under(0, chunk));
  if (level.length === 0) return GENESIS;
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < level.length; at += 2) {
      const [left, right] = [level[at]!, level[at + 1]];
      above.push(right === undefined ? left : under(1, left, right));
    }
    level = above;
  }
  return Array.from(level[0]!, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Over the lines of a file that the customer keeps: its bytes as they are, only a last empty piece left out. */
export function linesRoot(bytes: Uint8Array): string {
  const leaves: string[] = [];
  let from = 0;
  for (let at = 0; at <= bytes.length; at++) {
    if (at < bytes.length && bytes[at] !== 0x0a) continue;
    if (at < bytes.length || at > from) leaves.push(sha512Hex(bytes.subarray(from, at)));
    from = at + 1;
  }
  return textRoot(leaves) ?? GENESIS;
}
