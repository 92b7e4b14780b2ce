// SPDX-License-Identifier: Apache-2.0
/**
 * How a machine reaches the gateway of models. Of the host it can reach nothing but doors, each of which leads to one place that the
 * host's operator listed; where this API is on the host's loopback, that is the way. Elsewhere the operator says under which name
 * machines find it.
 */
export interface Inside {
  baseUrl: string;
  /** `host:port` of the host, which opens it to this machine; null: none is needed. */
  door: string | null;
}

export interface InsideAsk {
  /** Null: through a door. */
  baseUrl: string | null;
  upstreams: readonly unknown[];
}

const ON_LOOPBACK = /^(127(\.[0-9]{1,3}){3}|localhost):[0-9]{1,5}$/;

/** Null: there is nobody to ask, or no way. Where this API is, is known when it listens; `api` throws before. */
export function insideOf(
  { baseUrl, upstreams }: InsideAsk,
  api: () => { url: string; host: string },
): Inside | null {
  if (upstreams.length === 0) return null;
  if (baseUrl !== null) return { baseUrl, door: null };
  const { url, host } = api();
  // No certificate of ours is for an address on loopback.
  return ON_LOOPBACK.test(host) && url.startsWith("http:")
    ? { baseUrl: `http://${host}/inference/v1`, door: host }
    : null;
}
