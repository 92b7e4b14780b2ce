// SPDX-License-Identifier: Apache-2.0
/** A stored proof as a certificate for people, in two forms. */
import { Type } from "typebox";
import { operation } from "../operation.ts";

const DESCRIPTION =
  "What was destroyed, when, how each of the eight steps checked it, and what is not claimed, laid out as NIST SP 800-88 Rev. 1, " +
  "appendix G, has it. Made from the stored proof alone; the same bytes each time. It proves nothing by itself: the proof does.";

export const getCertificatePage = operation({
  id: "sessions.proof.html",
  surface: "sessions",
  method: "GET",
  path: "/v1/proofs/:session_id.html",
  access: "key",
  tag: "Proofs",
  summary: "The proof as a certificate, as a page",
  description: DESCRIPTION,
  params: Type.Object({ session_id: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "The page", mediaType: "text/html; charset=utf-8" } },
  errors: ["identity.unauthorized", "session.not-found", "session.proof-pending", "limits.rate"],
});

export const getCertificatePaper = operation({
  id: "sessions.proof.pdf",
  surface: "sessions",
  method: "GET",
  path: "/v1/proofs/:session_id.pdf",
  access: "key",
  tag: "Proofs",
  summary: "The proof as a certificate, as a PDF",
  description: DESCRIPTION,
  params: Type.Object({ session_id: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "The document", mediaType: "application/pdf" } },
  errors: ["identity.unauthorized", "session.not-found", "session.proof-pending", "limits.rate"],
});
