// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Jurisdiction, Tier } from "./vocabulary.ts";

export const signup = operation({
  id: "sessions.signup",
  surface: "sessions",
  method: "POST",
  path: "/v1/signup",
  access: "public",
  perAddressRpm: 10,
  tag: "Account",
  summary: "Create a customer account",
  description: "The key in the answer is shown this once; only its SHA-256 is kept.",
  body: Type.Object({
    email: Type.String({ maxLength: 320, description: "A valid email address" }),
    jurisdiction: Type.Optional(Jurisdiction),
  }),
  responses: {
    201: {
      description: "The account and its only key",
      schema: Type.Object({
        customer_id: Type.String(),
        api_key: Type.String(),
        tier: Tier,
        message: Type.String(),
      }),
    },
  },
  errors: ["request.invalid", "identity.email-taken", "limits.rate"],
  example: { body: { email: "you@company.com", jurisdiction: "US" } },
});
