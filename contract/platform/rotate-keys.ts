// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";

export const rotateKeys = operation({
  id: "platform.keys.rotate",
  surface: "platform",
  method: "POST",
  path: "/platform/v1/keys/rotate",
  access: "admin",
  tag: "Operator",
  summary: "Rotate the key-encryption key, and the key that signs access tokens",
  description:
    "Makes a new key-encryption key and wraps every data key under it. Values are not rewritten. Old keys stay in the ring file until you remove them. Makes a new key that signs access tokens: published at once, it signs five minutes later, and the one before stays published for a day.",
  responses: {
    200: {
      description: "Done",
      schema: Type.Object({
        key_id: Type.String(),
        rewrapped: Type.Integer(),
        signing_key_id: Type.String(),
      }),
    },
  },
  errors: ["identity.unauthorized", "identity.forbidden"],
});
