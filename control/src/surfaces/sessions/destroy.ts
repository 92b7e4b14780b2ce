// SPDX-License-Identifier: Apache-2.0
/**
 * Destroying a session. Legal in every state: an ended one answers with its stored proof, and a wish
 * that was recorded is carried out even when this call gives up waiting.
 */
import { createHash } from "node:crypto";
import { Fault } from "#contract/errors.ts";
import type { destroySession, getProof } from "#contract/sessions/destroy.ts";
import { AUDIT_PROOF_MEDIA_TYPE } from "#evidence/auditproof/issue.ts";
import { DSSE_MEDIA_TYPE } from "#evidence/proofs/dsse.ts";
import { regulatoryContext } from "#evidence/proofs/regulatory.ts";
import type { Ended } from "../../core/machines/index.ts";
import { auditProofOf, inTotoOf } from "../../core/proofs/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { matchesEtag } from "../../http/etag.ts";
import type { Deps } from "./deps.ts";
import { saltIdentity } from "./reactions.ts";
import { type EndedSession, requireWithProof, wishForEnd } from "./rows.ts";

type Needs = Pick<Deps, "db" | "converger" | "watch" | "vault" | "endTimeoutMs">;

export async function destroy(deps: Needs, call: Call<typeof destroySession>): Promise<Answer> {
  const { account, params } = call;
  // Waited for on disk, although nothing is acknowledged yet: a database that dies now would forget the
  // wish, and this call would wait for an end that nobody wants any more.
  const wished = await wishForEnd(deps.db.run, account.id, params.id);
  if (wished === null) throw new Fault("session.not-found");
  const { session, machine } = wished;
  if (session.ended_at === null) {
    const over = deps.watch.over(session.machine_id, deps.endTimeoutMs);
    if (machine !== null) deps.converger.send(machine, call.now);
    const told = await over;
    if (told === null) throw new Fault("machine.too-slow", {}, { retryAfterSeconds: 5 });
    // What was stored this moment need not be read again. An unclean end may have kept no proof: look.
    const { subject, ended } = (told.over ?? {}) as { subject?: EndedSubject; ended?: Ended };
    if (subject && ended && subject.status !== "expired_unclean")
      return proofBody(subject, ended.proof, ended.saltHex);
  }
  const ended = await requireWithProof(deps.db.soft, account.id, session.id);
  if (ended.document === null || ended.salt_sealed === null) throw new Fault("session.no-proof");
  const salt = await deps.vault.open(saltIdentity(ended.id), ended.salt_sealed);
  return proofBody(ended, ended.document.toString(), salt.toString("hex"));
}

type EndedSubject = Pick<EndedSession, "id" | "status" | "jurisdiction" | "data_classification">;

/** The proof goes out as the bytes that were signed, so it is spliced into the body, never re-serialised. */
function proofBody(session: EndedSubject, document: string, saltHex: string): Answer {
  const { jurisdiction, data_classification } = session;
  const head = JSON.stringify({ session_id: session.id, status: session.status });
  const tail = JSON.stringify({
    regulatory_context: regulatoryContext({ jurisdiction, classification: data_classification }),
    session_context: { jurisdiction, data_classification },
    salt: saltHex,
  });
  const text = `${head.slice(0, -1)},"cdp":${document},${tail.slice(1)}`;
  return { status: 200, bytes: Buffer.from(text), mediaType: "application/json; charset=utf-8" };
}

export async function readProof(
  deps: Pick<Deps, "db" | "vault">,
  call: Call<typeof getProof>,
): Promise<Answer> {
  const session = await requireWithProof(deps.db.soft, call.account.id, call.params.session_id);
  const { document } = session;
  if (document === null)
    throw new Fault(session.ended_at === null ? "session.proof-pending" : "session.no-proof");
  const exported = await exportOf(deps, call.query.format, document);
  const bytes = exported?.bytes ?? document;
  const etag = `"${createHash("sha256").update(bytes).digest("hex").slice(0, 32)}"`;
  if (matchesEtag(call.headers["if-none-match"], etag)) return { status: 304, headers: { etag } };
  return {
    status: 200,
    bytes,
    mediaType: exported?.mediaType ?? "application/json; charset=utf-8",
    headers: { etag },
  };
}

/** Null for the stored form. */
async function exportOf(
  { db, vault }: Pick<Deps, "db" | "vault">,
  format: "casemate-cdp/1" | "auditproof-2.2" | "in-toto" | undefined,
  document: Buffer,
): Promise<{ bytes: Buffer; mediaType: string } | null> {
  if (format === "auditproof-2.2")
    return { bytes: Buffer.from(await auditProofOf(db, vault, document)), mediaType: AUDIT_PROOF_MEDIA_TYPE };
  if (format === "in-toto")
    return {
      bytes: Buffer.from(JSON.stringify(await inTotoOf(db, vault, document))),
      mediaType: DSSE_MEDIA_TYPE,
    };
  return null;
}
