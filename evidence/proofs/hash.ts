// SPDX-License-Identifier: Apache-2.0
/**
 * Every hash of a proof: SHA-256 over a tag, a line feed and the RFC 8785 form of one object. The
 * tag keeps an object made for one place from being shown in another.
 */
import canonicalize from "canonicalize";
import type { Probe } from "./document.ts";
import { fromHex, utf8 } from "./encoding.ts";
import { merkleRootText } from "./merkle.ts";
import { hmacSha256Hex, sha256Hex } from "./primitives.ts";

export type HashTag = "cdp/1/context" | "cdp/1/evidence" | "cdp/1/link" | "cdp/1/salt";

/** RFC 8785. Throws for what JSON cannot say and for lone surrogates: callers hold parsed or own values. */
export function canonicalJson(value: object): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError("value has no JSON form");
  return text;
}

/** H(tag, obj) in text form, `sha256:` and 64 lower-case hex digits. */
export function hashOf(tag: HashTag, value: object): string {
  return `sha256:${sha256Hex(`${tag}\n${canonicalJson(value)}`)}`;
}

/** `sha256:` and the SHA-256 of plain bytes: canary, boot id, public key. */
export function digestText(bytes: Uint8Array | string): string {
  return `sha256:${sha256Hex(bytes)}`;
}

/** What the first link has for a predecessor: the hash of nothing. */
export const GENESIS = digestText("");

export interface Link {
  prev: string;
  context_hash: string;
  step: number;
  subsystem: string;
  operation: string;
  evidence_hash: string;
}

/**
 * H(cdp/1/link, link). Its RFC 8785 form is written out, which the test compares with the general
 * writer: every value is a hash in text form or comes from the table of steps, so none needs escaping.
 */
export function linkHash({ prev, context_hash, step, subsystem, operation, evidence_hash }: Link): string {
  return `sha256:${sha256Hex(
    `cdp/1/link\n{"context_hash":"${context_hash}","evidence_hash":"${evidence_hash}",` +
      `"operation":"${operation}","prev":"${prev}","step":${step},"subsystem":"${subsystem}"}`,
  )}`;
}

/** Names the salt without showing it; `saltHex` is 32 bytes in lower-case hex. */
export function saltId(saltHex: string): string {
  saltBytes(saltHex);
  return hashOf("cdp/1/salt", { salt: saltHex });
}

/**
 * A small value (inode, uid) bound to the session's salt, so that a stranger who holds the proof
 * cannot find it by trying them all and the owner, who holds the salt, can check it.
 */
export function salted(saltHex: string, kind: string, value: string): string {
  if (kind.includes("\n")) throw new TypeError("a salted kind is one line");
  return `hmac-sha256:${hmacSha256Hex(saltBytes(saltHex), utf8(`${kind}\n${value}`))}`;
}

function saltBytes(saltHex: string): Uint8Array {
  const bytes = fromHex(saltHex);
  if (bytes?.length !== 32) throw new TypeError("a salt is 32 bytes in lower-case hex");
  return bytes;
}

/** Root over the RFC 8785 form of each probe, in order. */
export function probeRoot(probes: readonly Probe[]): string {
  return merkleRootText(probes.map((probe) => utf8(canonicalJson(probe))));
}

/** Root over the SHA-256 digests of read-back chunks in file order; null when nothing was read. */
export function zeroRoot(digests: readonly Uint8Array[]): string | null {
  return digests.length === 0 ? null : merkleRootText(digests);
}
