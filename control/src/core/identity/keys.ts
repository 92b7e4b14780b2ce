// SPDX-License-Identifier: Apache-2.0
/**
 * Keys: made here, shown once, kept as SHA-256. They carry 190 random bits, so a slow hash would only
 * cost us, and a thief of the table learns nothing usable.
 */
import { hash, randomBytes } from "node:crypto";
import { pooledBytes } from "../random.ts";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
export const SESSIONS_PREFIX = "nrx_live_";
export const WORKLOADS_PREFIX = "cm_wl_";
const SHOWN = 4;

/** `prefix` and 32 base62 characters from the system's CSPRNG; rejection keeps them uniform. */
export function makeKey(prefix: string): string {
  let text = "";
  while (text.length < 32) {
    for (const byte of randomBytes(48)) {
      if (byte < 248 && text.length < 32) text += ALPHABET[byte % 62];
    }
  }
  return prefix + text;
}

export const hashKey = (key: string): Buffer => hash("sha256", key, "buffer");
/** What may be shown of a key later: its kind and four characters. */
export const shownPrefix = (key: string, prefix: string): string => key.slice(0, prefix.length + SHOWN);
export const makeId = (prefix: string): string => `${prefix}_${pooledBytes(16).toString("hex")}`;
