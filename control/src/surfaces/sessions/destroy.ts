// SPDX-License-Identifier: Apache-2.0
/**
 * Destroying a session. Legal in every state: an ended one answers with its stored proof, and a wish
 * that was recorded is carried out even when this call gives up waiting.
 */
import { createHash } from "node:crypto";
import { Fault } from "#contract/errors.ts";
import type { destroySession, getProof } from "#contract/sessions/destroy.ts";
import { regulatoryContext } from "#evidence/proofs/regulatory.ts";
import type { Answer, Call } from "../../http/call.ts";
import { matchesEtag } from "../../http/etag.ts";
import type { Deps } from "./deps.ts";
import { saltIdentity } from "./reactions.ts";
import { type EndedSession, requireWithProof, wishForEnd } from "./rows.ts";

type Needs = Pick<Deps, "db" | "converger" | "watch" | "vault" | "endTimeoutMs">;

export async function destroy(deps: Needs, call: Call<typeof destroySession>): Promise<Answer> {
  const { account, params } = call;
  const wished = await wishForEnd(deps.db.run, account.id, params.id);
  if (wished === null) throw new Fault("session.not-found");
  const { session, machine } = wished;
  if (session.ended_at === null) {
    const over = deps.watch.over(session.machine_id, deps.endTimeoutMs);
    if (machine !== null) deps.converger.send(machine, call.now);
    if ((await over) === null) throw new Fault("machine.too-slow", {}, { retryAfterSeconds: 5 });
  }
  return proofBody(deps, await requireWithProof(deps.db.soft, account.id, session.id));
}

/** The proof goes out as the bytes that were signed, so it is spliced into the body, never re-serialised. */
async function proofBody(deps: Needs, session: EndedSession): Promise<Answer> {
  const { document, salt_sealed, jurisdiction, data_classification } = session;
  if (document === null || salt_sealed === null) throw new Fault("session.no-proof");
  const salt = await deps.vault.open(saltIdentity(session.id), salt_sealed);
  const head = JSON.stringify({ session_id: session.id, status: session.status });
  const tail = JSON.stringify({
    regulatory_context: regulatoryContext({ jurisdiction, classification: data_classification }),
    session_context: { jurisdiction, data_classification },
    salt: salt.toString("hex"),
  });
  const text = `${head.slice(0, -1)},"cdp":${document.toString()},${tail.slice(1)}`;
  return { status: 200, bytes: Buffer.from(text), mediaType: "application/json; charset=utf-8" };
}

export async function readProof(deps: Pick<Deps, "db">, call: Call<typeof getProof>): Promise<Answer> {
  const session = await requireWithProof(deps.db.soft, call.account.id, call.params.session_id);
  const { document } = session;
  if (document === null)
    throw new Fault(session.ended_at === null ? "session.proof-pending" : "session.no-proof");
  const etag = `"${createHash("sha256").update(document).digest("hex").slice(0, 32)}"`;
  if (matchesEtag(call.headers["if-none-match"], etag)) return { status: 304, headers: { etag } };
  return {
    status: 200,
    bytes: document,
    mediaType: "application/json; charset=utf-8",
    headers: { etag },
  };
}
