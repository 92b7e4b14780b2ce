// SPDX-License-Identifier: Apache-2.0
/**
 * The issuer key: the Ed25519 key that vouches for session keys. Made at first start, sealed at rest
 * under a key-encryption key that lies elsewhere and comes in over stdin, so that a copy of this
 * folder signs nothing. Rotation makes a new key under a new id and keeps every old public key:
 * certificates issued before must stay verifiable for good.
 *
 * Paths are relative to the working folder, which the host makes ours (0700, our uid) before it
 * starts us: we need no right to walk the folders above it.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Issuer } from "#evidence/proofs/certificate.ts";
import { toBase64Text } from "#evidence/proofs/encoding.ts";
import { replaceFile } from "../durable-file.ts";
import { seal, unseal } from "../seal.ts";
import { publicKeyOf, SEED_BYTES, signWith } from "./ed25519.ts";

const PATH = "issuer.json";

interface Stored {
  v: 1;
  /** Newest last; the last one signs. */
  issuers: Issuer[];
  /** The seed of the last one, sealed for its id. */
  sealed: string;
}

export class IssuerKey {
  #stored: Stored;
  readonly #kek: Buffer;

  private constructor(stored: Stored, kek: Buffer) {
    this.#stored = stored;
    this.#kek = kek;
  }

  static async open(kek: Buffer): Promise<IssuerKey> {
    let text: string;
    try {
      text = readFileSync(PATH, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      const stored = withNewKey([], kek);
      await store(stored);
      return new IssuerKey(stored, kek);
    }
    const issuer = new IssuerKey(JSON.parse(text), kek);
    // Finds a wrong key-encryption key at start and not at the first proof.
    issuer.sign(new Uint8Array(1));
    return issuer;
  }

  /** Every issuer there was, newest last. */
  issuers(): Issuer[] {
    return this.#stored.issuers;
  }

  issuerId(): string {
    return this.#stored.issuers.at(-1)!.issuerId;
  }

  /** The seed is in clear for one signature and zeros after it. */
  sign(message: Uint8Array): Uint8Array {
    const seed = unseal(this.#kek, this.issuerId(), Buffer.from(this.#stored.sealed, "base64"));
    try {
      return signWith(seed, message);
    } finally {
      seed.fill(0);
    }
  }

  async rotate(): Promise<Issuer[]> {
    const stored = withNewKey(this.#stored.issuers, this.#kek);
    await store(stored);
    this.#stored = stored;
    return stored.issuers;
  }
}

function withNewKey(before: Issuer[], kek: Buffer): Stored {
  const seed = randomBytes(SEED_BYTES);
  const spki = publicKeyOf(seed);
  const issuerId = `iss_${randomBytes(16).toString("hex")}`;
  const sealed = seal(kek, issuerId, seed).toString("base64");
  seed.fill(0);
  return { v: 1, issuers: [...before, { issuerId, publicKey: toBase64Text(spki) }], sealed };
}

function store(stored: Stored): Promise<void> {
  return replaceFile(PATH, Buffer.from(`${JSON.stringify(stored)}\n`), "name");
}
