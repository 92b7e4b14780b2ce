// SPDX-License-Identifier: Apache-2.0
/**
 * Whose request it is, for what is counted per address. By default the socket's address, and nobody's
 * word. The ingress that carries the API's name shows a secret, and is believed for it: an address would
 * not do, since every program and user of this machine has 127.0.0.1, and could then count as somebody
 * else with each sign-up.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import type { FastifyRequest } from "fastify";

/** Also in host/ingress/fields.ts, which lets no client of its own say it. */
const PROOF_FIELD = "x-casemate-proof";

/** `proofHash`: SHA-256 of the ingress's secret; null: there is none. */
export function clientAddress(request: FastifyRequest, proofHash: Buffer | null): string {
  const shown = request.headers[PROOF_FIELD];
  if (proofHash === null || typeof shown !== "string") return request.ip;
  if (!timingSafeEqual(createHash("sha256").update(shown).digest(), proofHash)) return request.ip;
  const said = request.headers["x-forwarded-for"];
  return typeof said === "string" && isIP(said) !== 0 ? said : request.ip;
}
