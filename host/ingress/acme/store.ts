// SPDX-License-Identifier: Apache-2.0
/**
 * What is known of each name's certificate, a file a name, for its owner alone: the certificate with its
 * key, when it is to be renewed, and how often an order failed. Failures are kept as well: a host that
 * is restarted again and again must not ask a directory each time.
 */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { eraseFile } from "../../durable-file.ts";
import { readPrivate, writePrivate } from "./private-file.ts";

export interface CertificateRecord {
  domain: string;
  /** Which directory all this is about; another one's certificate may be worth nothing (a staging one). */
  directoryUrl: string;
  issued: { keyPem: string; chainPem: string; renewAtMs: number } | null;
  failures: number;
  /** No order before; 0: at once. */
  retryAtMs: number;
}

export class CertificateStore {
  readonly #folder: string;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
  }

  /** Null when there is none. Throws when it cannot be believed. */
  find(domain: string): CertificateRecord | null {
    const found = readPrivate(this.#pathOf(domain));
    if (found === undefined) return null;
    const record = found as Partial<CertificateRecord>;
    if (record.domain !== domain || typeof record.directoryUrl !== "string" || record.issued === undefined)
      throw new Error("not the record of this name");
    return record as CertificateRecord;
  }

  put(record: CertificateRecord): Promise<void> {
    return writePrivate(this.#pathOf(record.domain), record);
  }

  /** With its key, overwritten. */
  remove(domain: string): Promise<void> {
    return eraseFile(this.#pathOf(domain));
  }

  /** A name may be longer than a file's name. */
  #pathOf(domain: string): string {
    return join(this.#folder, `${createHash("sha256").update(domain).digest("hex")}.json`);
  }
}
