// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { Name } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";

export const createPartner = operation({
  id: "platform.channel-partners.create",
  surface: "platform",
  method: "POST",
  path: "/platform/v1/channel-partners",
  access: "admin",
  tag: "Operator",
  summary: "A channel partner, and an invitation for its first administrator",
  body: Type.Object(
    { name: Name, administrator_email: Type.String({ maxLength: 254 }) },
    { additionalProperties: false },
  ),
  responses: {
    201: {
      description: "The partner; the word is shown this once",
      schema: Type.Object({ channel_partner_id: Type.String(), invitation: Type.String() }),
    },
  },
  errors: ["identity.unauthorized", "identity.forbidden", "request.invalid"],
  example: { body: { name: "Integrator", administrator_email: "ada@example.com" } },
});
