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
