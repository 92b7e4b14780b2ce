// SPDX-License-Identifier: Apache-2.0
/**
 * Our account at the directory: a key that is made once and kept, and the address that the directory
 * gave it. Each directory has a file of its own, so that going from a staging directory to the real
 * one and back takes nobody's account to another.
 *
 *  A. The key is on disk before the directory hears of it: an account whose key was lost can be closed by
 *     nobody, and counts against the directory's limits.
 *  B. An account that the directory does not know any more is registered again with the same key.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import "../reflect-metadata.ts";
import acme from "acme-client";
import { readPrivate, writePrivate } from "./private-file.ts";

export interface AccountOptions {
  folder: string;
  directoryUrl: string;
  /** Where the directory writes about the account; null: nowhere. */
  email: string | null;
}

interface Kept {
  keyPem: string;
  url: string | null;
}

export class Account {
  readonly #options: AccountOptions;
  readonly #path: string;
  readonly #kept: Kept;
  #client: Promise<acme.Client> | null = null;

  static async open(options: AccountOptions): Promise<Account> {
    const name = createHash("sha256").update(options.directoryUrl).digest("hex").slice(0, 16);
    const path = join(options.folder, `account-${name}.json`);
    const kept = parseKept(readPrivate(path), path);
    if (kept !== null) return new Account(options, path, kept);
    const keyPem = (await acme.crypto.createPrivateEcdsaKey("P-256")).toString();
    const made = { keyPem, url: null };
    await writePrivate(path, made); // A
    return new Account(options, path, made);
  }

  private constructor(options: AccountOptions, path: string, kept: Kept) {
    this.#options = options;
    this.#path = path;
    this.#kept = kept;
  }

  /** Registered, once for all who ask meanwhile. */
  client(): Promise<acme.Client> {
    this.#client ??= this.#register().catch((error: unknown) => {
      this.#client = null;
      throw error;
    });
    return this.#client;
  }

  /** B. */
  forget(): void {
    this.#client = null;
    this.#kept.url = null;
  }

  async #register(): Promise<acme.Client> {
    const { directoryUrl, email } = this.#options;
    const { keyPem, url } = this.#kept;
    const client = new acme.Client({
      directoryUrl,
      accountKey: keyPem,
      ...(url === null ? {} : { accountUrl: url }),
    });
    if (url !== null) return client;
    // Who configures a directory agrees to its terms (docs/operating.md).
    const contact = email === null ? {} : { contact: [`mailto:${email}`] };
    await client.createAccount({ termsOfServiceAgreed: true, ...contact });
    this.#kept.url = client.getAccountUrl();
    await writePrivate(this.#path, this.#kept);
    return client;
  }
}

function parseKept(value: unknown, path: string): Kept | null {
  if (value === undefined) return null;
  const { keyPem, url } = value as Partial<Kept>;
  if (typeof keyPem !== "string" || (url !== null && typeof url !== "string"))
    throw new Error(`${path} is not an account: remove it, and a new one is made`);
  return { keyPem, url: url ?? null };
}
