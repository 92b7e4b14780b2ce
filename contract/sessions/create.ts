// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Classification, Session } from "./vocabulary.ts";

export const createSession = operation({
  id: "sessions.create",
  surface: "sessions",
  method: "POST",
  path: "/v1/sessions",
  access: "key",
  tag: "Sessions",
  summary: "Create an ephemeral session",
  body: Type.Object({
    data_classification: Type.Optional(Classification),
    ttl_seconds: Type.Optional(
      Type.Integer({ minimum: 1, description: "Seconds to live; default and limit are the tier's maximum." }),
    ),
  }),
  responses: { 201: { description: "The session, ready for commands", schema: Session } },
  errors: [
    "identity.unauthorized",
    "ledger.quota-exceeded",
    "ledger.concurrent",
    "limits.rate",
    "session.ttl-too-long",
    "fleet.no-capacity",
    "machine.too-slow",
    "machine.start-failed",
    "host.above-ceiling",
  ],
  idempotent: true,
  example: { body: { data_classification: "PHI" } },
});
