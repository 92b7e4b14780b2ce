// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates as the ingress process holds them: asked of the host at the first handshake for a name,
 * and again when they are due, so that a handshake costs the host nothing in between.
 *
 *  A. Nobody is asked for a domain without a route: a stranger who makes names up has us wait for nothing.
 *  B. One question at a time per domain, however many handshakes wait for it.
 *  C. When the host has no answer, what we have serves until its end, and not a moment longer.
 *  D. What the host has renewed is asked for at the next handshake, also when an older answer was under way.
 */
import { constants } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { ServedLeaf } from "./messages.ts";

export const TLS = {
  minVersion: "TLSv1.2",
  // TLS 1.2 lets a client ask for one handshake after another on a connection: it costs us far more than them.
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
} as const;

export interface ContextsOptions {
  /** Null: there is none for this domain. */
  findLeaf(domain: string): Promise<ServedLeaf | null>;
  isServed(domain: string): boolean;
  now(): Date;
}

interface Kept {
  leaf: ServedLeaf;
  context: SecureContext;
}

export class Contexts {
  readonly #options: ContextsOptions;
  readonly #kept = new Map<string, Kept>();
  #renewals = 0;
  readonly #asked = new Map<string, Promise<ServedLeaf | null>>();

  constructor(options: ContextsOptions) {
    this.#options = options;
  }

  async find(domain: string): Promise<SecureContext | null> {
    const { isServed, now } = this.#options;
    if (!isServed(domain)) return null; // A
    const kept = this.#kept.get(domain);
    if (kept !== undefined && now().getTime() < kept.leaf.freshUntilMs) return kept.context;
    const renewals = this.#renewals;
    const leaf = await this.#ask(domain).catch(() => null);
    if (leaf !== null && isServed(domain))
      return this.#keep(domain, renewals === this.#renewals ? leaf : { ...leaf, freshUntilMs: 0 });
    const alive = kept !== undefined && now().getTime() < kept.leaf.notAfterMs;
    return alive && isServed(domain) ? kept.context : null; // C
  }

  /** D */
  renewed(domain: string): void {
    this.#renewals += 1;
    const kept = this.#kept.get(domain);
    if (kept !== undefined) this.#kept.set(domain, { ...kept, leaf: { ...kept.leaf, freshUntilMs: 0 } });
  }

  /** Forgets the domains that are no longer served. */
  prune(): void {
    for (const domain of this.#kept.keys()) if (!this.#options.isServed(domain)) this.#kept.delete(domain);
  }

  #ask(domain: string): Promise<ServedLeaf | null> {
    const asked = this.#asked.get(domain);
    if (asked !== undefined) return asked;
    const answer = this.#options.findLeaf(domain).finally(() => this.#asked.delete(domain));
    this.#asked.set(domain, answer); // B
    return answer;
  }

  #keep(domain: string, leaf: ServedLeaf): SecureContext {
    const kept = this.#kept.get(domain);
    const same = kept?.leaf.certificatePem === leaf.certificatePem;
    const context = same
      ? kept.context
      : createSecureContext({ ...TLS, key: leaf.keyPem, cert: leaf.certificatePem });
    this.#kept.set(domain, { leaf, context });
    return context;
  }
}
