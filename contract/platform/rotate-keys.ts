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
  summary: "Rotate the key-encryption key",
  description:
    "Makes a new key-encryption key and wraps every data key under it. Values are not rewritten. Old keys stay in the ring file until you remove them.",
  responses: {
    200: {
      description: "Done",
      schema: Type.Object({ key_id: Type.String(), rewrapped: Type.Integer() }),
    },
  },
  errors: ["identity.unauthorized", "identity.forbidden"],
});
