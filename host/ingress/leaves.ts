// SPDX-License-Identifier: Apache-2.0
/**
 * The certificates that are served, made in the host when the ingress first asks for them, and kept in
 * memory. The authority's key stays here; the ingress is given a leaf's.
 *
 *  A. Only a domain with a route has one. A stranger who asks for names of their own making has us
 *     neither sign nor remember anything.
 *  B. One is made at a time per domain, however many ask.
 *  C. A renewed certificate keeps its key. What a machine attests is the hash of the key its client sees;
 *     a key that changed under open connections would make honest reports look false.
 *  D. The old one serves while the next is signed; only an expired one is waited for.
 */
import { type Authority, type LeafKey, newLeafKey } from "./authority.ts";
import type { ServedLeaf } from "./messages.ts";

const RENEW_BEFORE_MS = 10 * 24 * 60 * 60 * 1000;

interface Leaf {
  key: LeafKey;
  certificatePem: string;
  notAfter: Date;
}

export const served = ({ key, certificatePem, notAfter }: Leaf): ServedLeaf => ({
  keyPem: key.keyPem,
  certificatePem,
  notAfterMs: notAfter.getTime(),
  freshUntilMs: notAfter.getTime() - RENEW_BEFORE_MS,
});

export interface LeavesOptions {
  authority: Authority;
  isServed(domain: string): boolean;
  /** The key that the domain's certificate from elsewhere had; C holds across authorities. */
  keptKey?(domain: string): Promise<LeafKey | undefined>;
  now(): Date;
  log(event: string, facts: Record<string, unknown>): void;
}

export class Leaves {
  readonly #options: LeavesOptions;
  readonly #kept = new Map<string, Leaf>();
  readonly #underWay = new Map<string, Promise<Leaf>>();

  constructor(options: LeavesOptions) {
    this.#options = options;
  }

  /** Null for a domain that is not served. */
  async find(domain: string): Promise<Leaf | null> {
    if (!this.#options.isServed(domain)) return null;
    const kept = this.#kept.get(domain);
    const leftMs = kept === undefined ? 0 : kept.notAfter.getTime() - this.#options.now().getTime();
    if (kept !== undefined && leftMs > RENEW_BEFORE_MS) return kept;
    const next = this.#renew(domain, kept);
    if (kept === undefined || leftMs <= 0) return next;
    next.catch(() => {});
    return kept;
  }

  /** Forgets the domains that are no longer served. */
  prune(): void {
    for (const domain of this.#kept.keys()) if (!this.#options.isServed(domain)) this.#kept.delete(domain);
  }

  #renew(domain: string, old: Leaf | undefined): Promise<Leaf> {
    const underWay = this.#underWay.get(domain);
    if (underWay !== undefined) return underWay;
    const made = this.#make(domain, old).finally(() => this.#underWay.delete(domain));
    this.#underWay.set(domain, made);
    return made;
  }

  async #make(domain: string, old: Leaf | undefined): Promise<Leaf> {
    const { authority, now, log, isServed } = this.#options;
    try {
      const key = old?.key ?? (await this.#options.keptKey?.(domain)) ?? (await newLeafKey());
      const { certificatePem, notAfter } = await authority.sign(domain, key, now());
      const leaf: Leaf = { key, certificatePem, notAfter };
      if (isServed(domain)) this.#kept.set(domain, leaf);
      log("ingress.certificate-made", {
        domain,
        notAfter: notAfter.toISOString(),
        renewed: old !== undefined,
      });
      return leaf;
    } catch (error) {
      log("ingress.certificate-failed", { domain, error: String(error) });
      throw error;
    }
  }
}
