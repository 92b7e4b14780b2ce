// SPDX-License-Identifier: Apache-2.0
/**
 * What a machine was started to run, in public words. Its SHA-256 is on the measured command line, so
 * evidence of the machine is evidence of this; the guest holds what it is given to these hashes. Values and
 * names of environment variables are not in it: a restart may change them, and names tell strangers things.
 */
import { hexOf } from "../bytes.ts";
import { sha256 } from "../primitives.ts";

export interface LaunchManifest {
  v: 1;
  /** SHA-256 of the compose file's bytes, as its owner has them; hex. */
  compose: string;
  /** Of each uploaded file's bytes. */
  files: Record<string, string>;
  /** Names under which the machine serves TLS with a key of its own. */
  domains: string[];
  publicService: string;
  publicPort: number;
  /** By service: the exact image, where it was known when the machine was asked for. */
  images: Record<string, string>;
  /** Whether it has a disk that outlives a start. */
  stateDisk: boolean;
}

/** Of a machine that somebody logs in to. It has no name in it: which one it is, is decided after it has shown what it is. */
export interface InstanceManifest {
  v: 1;
  kind: "instance";
  /** The package that the image brings, or `none`. */
  agent: string;
  stateDisk: boolean;
}

/** It travels to the guest in one line. */
const MANIFEST_BYTES_MAX = 131_072;

/** One manifest has one form: members and names in order of their UTF-16 units, no white space (RFC 8785 for these values). */
export function manifestBytes(manifest: LaunchManifest | InstanceManifest): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(sorted(manifest)));
  if (bytes.length > MANIFEST_BYTES_MAX)
    throw new RangeError(`a launch manifest is ${MANIFEST_BYTES_MAX} bytes at most`);
  return bytes;
}

export const manifestSha256 = async (bytes: Uint8Array): Promise<string> => hexOf(await sha256(bytes));

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  // From entries: `__proto__` as a name of a file is a name.
  const members = Object.entries(value).map(([name, one]) => [name, sorted(one)] as const);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members);
}
