// SPDX-License-Identifier: Apache-2.0
/**
 * Addresses that can be given at all. What a name leads to is decided with each connection
 * (core/ingress/guarded-dialer.ts): an answer of today says nothing of tomorrow's.
 */
import { isIP } from "node:net";
import { Fault } from "#contract/errors.ts";
import { guardedLookup, Obstructed, openGuard } from "../ingress/index.ts";
import type { WebhooksConfig } from "./start.ts";

export async function requireUrl(
  text: string,
  { allowHttp, allowNetworks }: Pick<WebhooksConfig, "allowHttp" | "allowNetworks">,
): Promise<string> {
  const url = URL.parse(text);
  if (url === null) throw refused("url is not a URL");
  if (url.protocol !== "https:" && !(allowHttp && url.protocol === "http:"))
    throw refused(allowHttp ? "url must be http or https" : "url must be https");
  if (url.username !== "" || url.password !== "") throw refused("url must hold no user name or password");
  if (url.hash !== "") throw refused("url must have no fragment");
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) !== 0)
    await guardedLookup(openGuard({ allow: allowNetworks }), host).catch((error) => {
      throw error instanceof Obstructed
        ? refused("url names an address that may not be reached from here")
        : error;
    });
  return url.href;
}

const refused = (detail: string) => new Fault("request.invalid", { detail });
