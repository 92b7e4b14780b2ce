// SPDX-License-Identifier: Apache-2.0
/**
 * What the world's DNS says of a domain that a customer brings. The attacker chooses the name and owns
 * the servers behind it: they answer each question differently, slowly, at length, or with addresses of
 * our own network.
 *
 *  A. Only questions are sent, to resolvers of the operator's choice: nothing here connects to an address
 *     that came as an answer, so there is nothing to aim or to rebind. What is found is compared and not
 *     shown: nobody reads an inner zone through us.
 *  B. "It is not there" and "nobody can tell" are two answers. Only the first is held against a customer.
 *  C. Everything ends: a look has one time, an answer is read to a bound.
 */
import { Resolver } from "node:dns/promises";
import { deadline } from "./deadline.ts";

export interface DomainLooks {
  /** Does this text stand at the name? Null: nobody can tell now. */
  hasText(name: string, text: string): Promise<boolean | null>;
  /** Does the domain lead to the target, by an alias or by one of its addresses? Null: nobody can tell now. */
  leadsTo(domain: string, target: { name: string; addresses: readonly string[] }): Promise<boolean | null>;
}

export interface DomainLooksOptions {
  /** Name servers to ask, `address` or `address:port`; none: the system's. */
  resolvers: readonly string[];
  timeoutMs?: number;
}

const TEXTS_MAX = 100;
const ADDRESSES_MAX = 32;
const TRIES = 2;
/** These say that the name, or a record of this type, does not exist. */
const ABSENT = new Set(["ENOTFOUND", "ENODATA"]);

export function openDomainLooks({ resolvers, timeoutMs = 5_000 }: DomainLooksOptions): DomainLooks {
  const resolver = () => {
    // One of its own for each look: what is late for one must not be answered to another.
    const asks = new Resolver({ timeout: Math.ceil(timeoutMs / TRIES / 2), tries: TRIES });
    if (resolvers.length > 0) asks.setServers(resolvers);
    return asks;
  };
  /** The answer, none, or null (B). */
  async function found<T>(ask: (from: Resolver) => Promise<T[]>): Promise<T[] | null> {
    const from = resolver();
    try {
      return await deadline(ask(from), timeoutMs);
    } catch (error) {
      return ABSENT.has((error as { code?: string }).code ?? "") ? [] : null;
    } finally {
      from.cancel();
    }
  }
  return {
    hasText: async (name, text) => {
      const texts = await found((from) => from.resolveTxt(name));
      if (texts === null) return null;
      return texts.slice(0, TEXTS_MAX).some((parts) => parts.join("") === text);
    },
    leadsTo: async (domain, { name, addresses }) => {
      const [aliases, four, six] = await Promise.all([
        found((from) => from.resolveCname(domain)),
        found((from) => from.resolve4(domain)),
        found((from) => from.resolve6(domain)),
      ]);
      const same = (alias: string) => alias.toLowerCase().replace(/\.$/, "") === name;
      if (aliases?.some(same)) return true;
      const known = [...(four ?? []), ...(six ?? [])].slice(0, ADDRESSES_MAX);
      if (known.some((address) => addresses.includes(address))) return true;
      return aliases === null || four === null || six === null ? null : false;
    },
  };
}
