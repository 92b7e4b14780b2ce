// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";

export const listIssuers = operation({
  id: "platform.issuers.list",
  surface: "platform",
  method: "GET",
  path: "/platform/v1/issuers",
  access: "public",
  perAddressRpm: 600,
  tag: "Proofs",
  summary: "The keys this installation certifies proofs with",
  description:
    "Save it once, from a place you trust, and give it to `casemate verify-proof --issuer-file`: level 2 is worth what your copy is worth.",
  responses: {
    200: {
      description: "Every issuer, old ones included",
      schema: Type.Array(
        Type.Object({
          issuerId: Type.String(),
          publicKey: Type.String({ description: "`base64:` and the SPKI in DER" }),
        }),
      ),
    },
  },
  errors: ["limits.rate"],
});

export const getIssuerManifest = operation({
  id: "platform.issuers.manifest",
  surface: "platform",
  method: "GET",
  path: "/platform/v1/issuers/manifest",
  access: "public",
  perAddressRpm: 60,
  tag: "Proofs",
  summary: "The same and what was revoked, signed by one key for good",
  description:
    "Get `fingerprint` once from a place you trust, and give it to `casemate verify-proof --issuer <fingerprint> --issuer-file <this>`: " +
    "every later list can then come from anywhere. What it does not have yet may still have been revoked: `issued_at` says as of when.",
  responses: {
    200: {
      description: "The list",
      schema: Type.Object({
        format: Type.Literal("casemate-issuers/1"),
        identity_public_key: Type.String({
          description: "`base64:` and the SPKI in DER of the key that signs",
        }),
        fingerprint: Type.String({ description: "`sha256:` and the SHA-256 of that SPKI" }),
        issued_at: Type.String(),
        issuers: Type.Array(
          Type.Object({
            issuer_id: Type.String(),
            public_key: Type.String({ description: "`base64:` and the SPKI in DER" }),
            revoked: Type.Boolean(),
          }),
        ),
        revoked_keys: Type.Array(Type.String({ description: "Id of a session's key" })),
        signature: Type.String({
          description:
            "`base64:` and Ed25519 over ASCII `casemate/issuers/1`, a line feed, and the RFC 8785 form of all other members",
        }),
      }),
    },
  },
  errors: ["limits.rate"],
});

export const getTrustChain = operation({
  id: "platform.issuers.trust-chain",
  surface: "platform",
  method: "GET",
  path: "/platform/v1/issuers/trust-chain",
  access: "public",
  perAddressRpm: 60,
  tag: "Proofs",
  summary: "Which key signs exports of proofs, as the AuditProof format has it",
  description:
    "For `casemate verify-proof <export> --trust-chain <this> --pin <its identity_fingerprint, had from elsewhere>`, and that format's own verifiers.",
  responses: {
    200: {
      description: "The manifest",
      schema: Type.Object({
        schema_version: Type.Literal("1"),
        issued_at: Type.String(),
        identity_fingerprint: Type.String({
          description: "`sha256:` and SHA-256 of the 32 bytes of the identity key",
        }),
        identity_public_key_b64: Type.String(),
        authorities: Type.Record(Type.String(), Type.Object({})),
        manifest_signature: Type.String(),
      }),
    },
  },
  errors: ["limits.rate"],
});

export const revokeIssued = operation({
  id: "platform.issuers.revoke",
  surface: "platform",
  method: "POST",
  path: "/platform/v1/issuers/revoke",
  access: "admin",
  tag: "Operator",
  summary: "Say that what an issuer certified, or one proof's key, is not to be believed",
  description:
    "For good, and for proofs of any time. Whoever verifies learns it from the next list of issuers. Before an issuer that signs now, " +
    "make another: `casemate keys rotate --issuer`.",
  body: Type.Object(
    {
      issuer_id: Type.Optional(Type.String({ pattern: "^iss_[0-9a-f]{32}$" })),
      key_id: Type.Optional(Type.String({ pattern: "^[A-Za-z0-9_.-]{1,128}$" })),
    },
    { minProperties: 1, maxProperties: 1, additionalProperties: false },
  ),
  responses: {
    200: { description: "Revoked", schema: Type.Object({ revoked: Type.String() }) },
  },
  errors: ["identity.unauthorized", "identity.forbidden", "keys.not-found", "request.malformed"],
  example: { body: { issuer_id: "iss_00112233445566778899aabbccddeeff" } },
});
