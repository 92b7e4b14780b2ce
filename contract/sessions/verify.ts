// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant, Nullable } from "./vocabulary.ts";

export const PROOF_MAX = 256 * 1024;

export const verifyProof = operation({
  id: "sessions.verify",
  surface: "sessions",
  method: "POST",
  path: "/v1/verify",
  access: "public",
  perAddressRpm: 60,
  storesNothing: true,
  tag: "Proofs",
  summary: "Verify a destruction proof",
  description:
    "Takes a bare CDP or an object with a `cdp` member, and beside it, for level 3, `transparency` as " +
    "`GET /v1/proofs/:session_id/transparency` answers it; the log is then this server's own, which a warning says. " +
    "Nothing is stored. 200 for invalid documents too.",
  bodyKind: "raw",
  bodyLimit: PROOF_MAX,
  responses: {
    200: {
      description: "The verdict",
      schema: Type.Object({
        valid: Type.Boolean(),
        checks: Type.Object({
          chain_integrity: Type.Boolean(),
          final_hash: Type.Boolean(),
          signature: Type.Boolean(),
          step_count: Type.Integer(),
        }),
        level: Type.Integer(),
        outcome: Nullable(Type.String()),
        profile: Nullable(Type.String()),
        warnings: Type.Array(Type.String()),
        failures: Type.Array(Type.String()),
      }),
    },
  },
  errors: ["request.malformed", "request.too-large", "limits.rate"],
});

export const getKey = operation({
  id: "sessions.key",
  surface: "sessions",
  method: "GET",
  path: "/v1/keys/:id",
  access: "public",
  perAddressRpm: 600,
  tag: "Proofs",
  summary: "A proof's public key and its certificate",
  params: Type.Object({ id: Type.String({ maxLength: 128 }) }),
  responses: {
    200: {
      description: "The key",
      schema: Type.Object({
        key_id: Type.String(),
        algorithm: Type.Literal("Ed25519"),
        public_key: Type.String(),
        created_at: Instant,
        certificate: Type.Object({ v: Type.Integer() }),
      }),
    },
  },
  errors: ["keys.not-found", "limits.rate"],
});
