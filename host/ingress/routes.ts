// SPDX-License-Identifier: Apache-2.0
/**
 * Which machine a name leads to. The table is replaced whole: a request reads it once, and whatever it
 * found then is what it goes on with.
 */
export interface Target {
  host: string;
  port: number;
}

export interface IngressRoute {
  /** Lower-case fully qualified name, unique. */
  domain: string;
  machineId: string;
  /** Null: the machine is stopped or starting, and its name answers 503. */
  target: Target | null;
  /** The machine holds the key of this name, also while it is not up: TLS is carried to it and never ended here. */
  tlsInside?: true;
  /** Nothing is served in clear: what is asked under this name holds keys. */
  secureOnly?: true;
  /** Of control's own name: by this it knows that we say whose request it is. Never of a machine. */
  proof?: string;
}

const DOMAIN_LENGTH_MAX = 253;
const LABELS = /^(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*$/;
/** A host as it stands in a Host field: a name, perhaps the root's dot, perhaps a port. */
const HOST_FIELD = /^([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::[0-9]{0,5})?$/i;

export class RouteTable {
  #byDomain: ReadonlyMap<string, IngressRoute> = new Map();

  /** Throws, and changes nothing, when a domain is not one or comes twice. */
  replace(routes: readonly IngressRoute[]): void {
    const next = new Map<string, IngressRoute>();
    for (const route of routes) {
      if (route.domain.length > DOMAIN_LENGTH_MAX || !LABELS.test(route.domain))
        throw new Error(`not a domain in lower case: ${JSON.stringify(route.domain)}`);
      if (next.has(route.domain)) throw new Error(`two routes for ${route.domain}`);
      next.set(route.domain, { ...route, target: route.target && { ...route.target } });
    }
    this.#byDomain = next;
  }

  find(domain: string): IngressRoute | undefined {
    return this.#byDomain.get(domain);
  }

  all(): Iterable<IngressRoute> {
    return this.#byDomain.values();
  }
}

/** The domain that a Host field or a server name means; null when it is no name (an address, rubbish). */
export function domainOf(host: string): string | null {
  return HOST_FIELD.exec(host)?.[1]?.toLowerCase() ?? null;
}
