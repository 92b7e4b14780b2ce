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
export const INSTANCES_PREFIX = "ca_";
const SHOWN = 4;

/** `prefix` and 32 base62 characters. */
export const makeKey = (prefix: string): string => prefix + randomText(ALPHABET, 32);

/** Of instances, in the seed's form: `ca_`, 8 and 18 characters of 36; about 134 random bits. */
export function makeInstancesKey(): string {
  const text = randomText("0123456789abcdefghijklmnopqrstuvwxyz", 26);
  return `${INSTANCES_PREFIX}${text.slice(0, 8)}_${text.slice(8)}`;
}

/** Uniform over the alphabet of at most 64 characters, from the system's CSPRNG. */
export function randomText(alphabet: string, length: number): string {
  let text = "";
  const fair = 256 - (256 % alphabet.length);
  while (text.length < length) {
    for (const byte of randomBytes(length * 2)) {
      if (byte < fair && text.length < length) text += alphabet[byte % alphabet.length];
    }
  }
  return text;
}

export const hashKey = (key: string): Buffer => hash("sha256", key, "buffer");
/** What may be shown of a key later: its kind and four characters. */
export const shownPrefix = (key: string, prefix: string): string => key.slice(0, prefix.length + SHOWN);
export const makeId = (prefix: string): string => `${prefix}_${pooledBytes(16).toString("hex")}`;
