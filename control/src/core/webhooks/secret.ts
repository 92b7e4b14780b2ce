// SPDX-License-Identifier: Apache-2.0
/** Secrets of webhooks and what they sign, after the Standard Webhooks specification. */
import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";

/** 24 to 64 bytes, says the specification. */
const SECRET_BYTES = 32;

export const makeSecret = (): string => `whsec_${randomBytes(SECRET_BYTES).toString("base64")}`;

export interface Message {
  id: string;
  at: Date;
  body: string;
}

/** Headers of a message; a signature of each secret, so that a receiver may change from one to the next. */
export function signedHeaders({ id, at, body }: Message, secrets: readonly string[]): Record<string, string> {
  return {
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": secrets.map((secret) => new Webhook(secret).sign(id, at, body)).join(" "),
  };
}
