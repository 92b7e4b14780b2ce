// SPDX-License-Identifier: Apache-2.0
/**
 * The servers that have the models, as the operator configured them. Their keys are read here, once, and go to them alone. They are
 * dialled through the guard: a name of a public server that leads into our own network one day is not followed there, unless the
 * operator said that it may.
 */
import { readFileSync } from "node:fs";
import { type Guard, openGuard } from "../../core/ingress/index.ts";

export interface Prices {
  inputMicrosPerMillion: number;
  outputMicrosPerMillion: number;
}

export interface UpstreamConfig {
  name: string;
  baseUrl: string;
  keyFile: string | null;
  models: readonly ({ id: string } & Prices)[];
}

export interface Model {
  id: string;
  upstream: string;
  prices: Prices;
  /** Of an operation there, `chat/completions`. */
  urlOf(operation: string): string;
  headers: Readonly<Record<string, string>>;
}

export interface Upstreams {
  guard: Guard;
  /** In the order of the configuration. */
  models: ReadonlyMap<string, Model>;
}

export interface UpstreamsConfig {
  upstreams: readonly UpstreamConfig[];
  allowNetworks: readonly string[];
}

/** @throws For a model that two have, and for one that is to be chosen and nobody has. */
export function openUpstreams({ upstreams, allowNetworks }: UpstreamsConfig, chosen: string): Upstreams {
  const models = new Map<string, Model>();
  for (const { name, baseUrl, keyFile, models: its } of upstreams) {
    const headers = keyFile === null ? {} : { authorization: `Bearer ${readKey(name, keyFile)}` };
    const urlOf = (operation: string) => `${baseUrl.replace(/\/+$/, "")}/${operation}`;
    for (const { id, ...prices } of its) {
      if (models.has(id)) throw new Error(`config instances.inference.upstreams: two have the model ${id}`);
      models.set(id, { id, upstream: name, prices, urlOf, headers });
    }
  }
  if (models.size > 0 && !models.has(chosen))
    throw new Error(`config instances.inferenceModel: no upstream has the model ${chosen}`);
  return { guard: openGuard({ allow: allowNetworks }), models };
}

function readKey(name: string, path: string): string {
  const key = readFileSync(path, "utf8").trim();
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new Error(`config instances.inference.upstreams: the key file of ${name} holds no key`);
  return key;
}
