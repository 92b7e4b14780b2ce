// SPDX-License-Identifier: Apache-2.0
/**
 * What control and a host say on an `attest` stream: JSON objects, one a line, ended by LF, on channel 0. Control asks, the host
 * passes on what the guest says and believes none of it. The last word of a start is `secrets` or `refused`.
 *
 *   control  {"ask":"evidence","purpose":"seal","nonce":"<hex>"}
 *   host     {"evidence":{…},"keys":{"sealing":"…","tls":"…"}}
 *   control  {"ask":"activate","credential":"<base64>","secret":"<base64>"}       (a TPM alone)
 *   host     {"secret":"<base64>"}
 *   control  {"ask":"secrets","sizeBytes":n}, then n bytes on channel 1, then its end
 *   or       {"ask":"refused","words":"…"}
 *
 * Any answer may be {"error":"<public words>"}; the last word is said all the same.
 */
import { type Static, Type } from "typebox";

const closed = <P extends Parameters<typeof Type.Object>[0]>(members: P) =>
  Type.Object(members, { additionalProperties: false });
const Base64 = Type.String({ pattern: "^[A-Za-z0-9+/]*={0,2}$", maxLength: 16_384 });

export const AttestAsk = Type.Union([
  closed({
    ask: Type.Literal("evidence"),
    purpose: Type.Enum(["report", "seal", "login"]),
    nonce: Type.String({ pattern: "^([0-9a-f]{2}){16,64}$" }),
  }),
  closed({ ask: Type.Literal("activate"), credential: Base64, secret: Base64 }),
  closed({ ask: Type.Literal("secrets"), sizeBytes: Type.Integer({ minimum: 1, maximum: 33_554_432 }) }),
  closed({ ask: Type.Literal("refused"), words: Type.String({ minLength: 1, maxLength: 1000 }) }),
]);
export type AttestAsk = Static<typeof AttestAsk>;

export const AttestAnswer = Type.Union([
  closed({
    evidence: closed({
      platform: Type.Enum(["sev-snp", "tdx", "tpm", "none"]),
      bundle: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
      reportData: Type.String({ pattern: "^[0-9a-f]{128}$" }),
    }),
    keys: closed({ sealing: Base64, tls: Base64 }),
  }),
  closed({ secret: Base64 }),
  closed({ error: Type.String({ maxLength: 1000 }) }),
]);
export type AttestAnswer = Static<typeof AttestAnswer>;

/** A line in either direction, with its LF. */
export const ATTEST_LINE_MAX = 524_288;
/** Of the channel that carries the sealed box. */
export const BOX_CHANNEL = 1;
