// SPDX-License-Identifier: Apache-2.0
/** Digests between the wire, where they are text, and the database, where they are 32 bytes. */
import type { Digest } from "./port.ts";

const FORM = /^sha256:([0-9a-f]{64})$/;

export const isDigest = (text: string): text is Digest => FORM.test(text);

export const digestBytes = (digest: Digest): Buffer => Buffer.from(digest.slice("sha256:".length), "hex");

export const digestOf = (bytes: Buffer): Digest => `sha256:${bytes.toString("hex")}`;
