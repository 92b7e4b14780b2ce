// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Classification, Jurisdiction, SessionId, SessionParams, SessionStatus } from "./vocabulary.ts";

/** The proof itself; its closed schema is evidence/proofs/document.ts. */
const CdpObject = Type.Object({ cdp_version: Type.String() }, { description: "A casemate-cdp/1 document" });

export const RegulatoryContext = Type.Object({
  notice: Type.String(),
  framework_version: Type.String(),
  jurisdiction: Type.String(),
  mappings: Type.Array(
    Type.Object({
      step: Type.Integer(),
      subsystem: Type.String(),
      frameworks: Type.Array(
        Type.Object({
          regulation: Type.String(),
          provision: Type.String(),
          description: Type.String(),
          relationship: Type.Literal("related_to"),
        }),
      ),
    }),
  ),
});

export const destroySession = operation({
  id: "sessions.destroy",
  surface: "sessions",
  method: "DELETE",
  path: "/v1/sessions/:id",
  access: "key",
  tag: "Sessions",
  summary: "Destroy the session and get its destruction proof",
  description:
    "Legal in every state and idempotent: the same stored proof again. Answers after teardown was verified. " +
    "`salt` opens the salted members of the proof and is for the owner only.",
  params: SessionParams,
  responses: {
    200: {
      description: "The destruction proof",
      schema: Type.Object({
        session_id: SessionId,
        status: SessionStatus,
        cdp: CdpObject,
        regulatory_context: RegulatoryContext,
        session_context: Type.Object({ jurisdiction: Jurisdiction, data_classification: Classification }),
        salt: Type.String(),
      }),
    },
  },
  errors: ["identity.unauthorized", "session.not-found", "machine.too-slow", "limits.rate"],
});

export const getProof = operation({
  id: "sessions.proof",
  surface: "sessions",
  method: "GET",
  path: "/v1/proofs/:session_id",
  access: "key",
  tag: "Proofs",
  summary: "The stored proof of an ended session",
  description:
    "Exactly the bytes of the `cdp` member of the DELETE answer; or an export of them, made and signed by this installation, since the " +
    "session's key is gone: an AuditProof 2.2 document (`application/vnd.nanorix.auditproof+json`), which binds the stored bytes as its " +
    "`customer_declared_activity_root`, or an in-toto statement in a DSSE envelope (`application/vnd.dsse.envelope.v1+json`).",
  params: Type.Object({ session_id: Type.String({ maxLength: 64 }) }),
  query: Type.Object({
    format: Type.Optional(
      Type.Enum(["casemate-cdp/1", "auditproof-2.2", "in-toto"], {
        description: "The form of the document; the stored one by default.",
      }),
    ),
  }),
  responses: { 200: { description: "The CDP", schema: CdpObject } },
  errors: ["identity.unauthorized", "session.not-found", "session.proof-pending", "limits.rate"],
});
