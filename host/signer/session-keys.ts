// SPDX-License-Identifier: Apache-2.0
/**
 * The keys of sessions being ended: one pair each, used for one signature, then zeros.
 *
 * Invariants:
 *  A. A key signs at most once. It leaves the table before it signs, so a signature that fails half
 *     way cannot be asked for again with the same key.
 *  B. What is signed was composed here, from parts: a caller cannot have a hash of its choice signed.
 *  C. A key id is handed out once; the second one asked for in the same second for the same eight
 *     digits waits for the next second.
 */
import { randomBytes } from "node:crypto";
import {
  attestProof,
  composeProof,
  type ProofParts,
  publicKeyDigest,
  signingMessage,
} from "#evidence/proofs/build.ts";
import { issueCertificate } from "#evidence/proofs/certificate.ts";
import { toBase64Text } from "#evidence/proofs/encoding.ts";
import { wireTime } from "#evidence/proofs/time.ts";
import { publicKeyOf, SEED_BYTES, signWith } from "./ed25519.ts";
import type { IssuerKey } from "./issuer.ts";

/** Sessions being ended at once; more wait for the host, which asks again. */
const KEYS_MAX = 10_000;
/** Ids are remembered this long; an id carries its second, so an older one cannot come again. */
const IDS_KEPT_MS = 10_000;

interface SessionKey {
  sessionId: string;
  seed: Buffer;
  spki: Uint8Array;
  madeAt: Date;
}

export interface NewKey {
  keyId: string;
  publicKey: string;
  publicKeySha256: string;
}

export interface Signed {
  /** The CDP's exact bytes. */
  proof: string;
  destroyedAt: string;
  outcome: "complete" | "incomplete";
  endState: "destroyed" | "expired" | "expired_unclean";
}

export class SessionKeys {
  readonly #issuer: IssuerKey;
  readonly #now: () => Date;
  readonly #keys = new Map<string, SessionKey>();
  readonly #ids = new Map<string, number>();

  constructor(issuer: IssuerKey, now: () => Date = () => new Date()) {
    this.#issuer = issuer;
    this.#now = now;
  }

  async newKey(sessionId: string): Promise<NewKey> {
    if (!/^sess_[0-9a-f]{32}$/.test(sessionId)) throw new TypeError("not a session id");
    if (this.#keys.size >= KEYS_MAX) throw new RangeError("too many keys wait for their signature");
    const { keyId, madeAt } = await this.#freshId(sessionId);
    const seed = randomBytes(SEED_BYTES);
    const spki = publicKeyOf(seed);
    this.#keys.set(keyId, { sessionId, seed, spki, madeAt });
    return { keyId, publicKey: toBase64Text(spki), publicKeySha256: publicKeyDigest(spki) };
  }

  sign(keyId: string, parts: ProofParts): Signed {
    const key = this.#keys.get(keyId);
    if (!key) throw new RangeError("no such key; a key signs once");
    this.#keys.delete(keyId);
    try {
      const { context } = parts;
      if (context.session_id !== key.sessionId || context.key_id !== keyId)
        throw new TypeError("the key belongs to another session");
      if (context.public_key_sha256 !== publicKeyDigest(key.spki))
        throw new TypeError("the context names another key");
      const unsigned = composeProof(parts);
      const signature = signWith(key.seed, signingMessage(unsigned.final_hash));
      const certificate = issueCertificate(this.#certified(key, keyId, unsigned.destroyed_at), (message) =>
        this.#issuer.sign(message),
      );
      const { bytes } = attestProof(unsigned, { publicKey: key.spki, signature, certificate });
      const { outcome, end_state } = unsigned.evidence[7].measured;
      return {
        proof: Buffer.from(bytes).toString(),
        destroyedAt: unsigned.destroyed_at,
        outcome,
        endState: end_state,
      };
    } finally {
      key.seed.fill(0);
    }
  }

  /** A key that will not be used; true when there was one. */
  discard(keyId: string): boolean {
    this.#keys.get(keyId)?.seed.fill(0);
    return this.#keys.delete(keyId);
  }

  get waiting(): number {
    return this.#keys.size;
  }

  /**
   * The window runs from the key's making to now, stretched to hold destroyed_at: a proof signed by a
   * later process than the one that measured has a key younger than the teardown it speaks of.
   */
  #certified(key: SessionKey, keyId: string, destroyedAt: string) {
    const times = [wireTime(key.madeAt), wireTime(this.#now()), destroyedAt].sort();
    return {
      v: 1 as const,
      issuer_id: this.#issuer.issuerId(),
      key_id: keyId,
      public_key: toBase64Text(key.spki),
      session_id: key.sessionId,
      not_before: times[0]!,
      not_after: times[2]!,
    };
  }

  async #freshId(sessionId: string): Promise<{ keyId: string; madeAt: Date }> {
    for (;;) {
      const madeAt = this.#now();
      for (const [id, at] of this.#ids) {
        if (at > madeAt.getTime() - IDS_KEPT_MS) break;
        this.#ids.delete(id);
      }
      const stamp = wireTime(madeAt).replace(/[-:]/g, "");
      const keyId = `nrx-verify-${stamp}-${sessionId.slice(5, 13)}`;
      if (!this.#ids.has(keyId)) {
        this.#ids.set(keyId, madeAt.getTime());
        return { keyId, madeAt };
      }
      await new Promise((resolve) => setTimeout(resolve, 1_000 - (madeAt.getTime() % 1_000) + 1));
    }
  }
}
