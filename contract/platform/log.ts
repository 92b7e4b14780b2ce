// SPDX-License-Identifier: Apache-2.0
/** What an operator does with the transparency log; reading it is everybody's (contract/sessions/log.ts). */
import { Type } from "typebox";
import { operation } from "../operation.ts";

const Done = {
  200: {
    description: "Done",
    schema: Type.Object({
      key: Type.String({ description: "The key that signs from now on, as in `/log/keys`." }),
    }),
  },
};

export const rotateLogKey = operation({
  id: "platform.log.rotate",
  surface: "platform",
  method: "POST",
  path: "/platform/v1/log/rotate-key",
  access: "admin",
  tag: "Operator",
  summary: "Sign the transparency log with a new key",
  description: "The old one stays in `/log/keys`, as retired: what it signed stays good.",
  responses: Done,
  errors: ["identity.unauthorized", "identity.forbidden"],
});

export const restartLog = operation({
  id: "platform.log.restart",
  surface: "platform",
  method: "POST",
  path: "/platform/v1/log/restart",
  access: "admin",
  tag: "Operator",
  summary: "Abandon the transparency log and begin another with the same entries",
  description:
    "For a log that stopped because its database was restored (`casemate_log_stopped`): what it signed since the backup " +
    "cannot be signed again. Proofs stay what they are; saved checkpoints of the abandoned log show nothing in the new one, " +
    "so tell those who hold them.",
  body: Type.Object({
    abandon: Type.String({ maxLength: 200, description: "The log's name, as in `/log/keys`." }),
  }),
  responses: Done,
  errors: ["identity.unauthorized", "identity.forbidden", "log.another-name", "request.malformed"],
  example: { body: { abandon: "casemate/0011223344556677" } },
});
