// SPDX-License-Identifier: Apache-2.0
/** `GET /v1/proofs/:id.html` and `.pdf`: the stored proof as a certificate that a person can read. For its owner, as the proof is. */
import { createHash } from "node:crypto";
import { Fault } from "#contract/errors.ts";
import type { getCertificatePage, getCertificatePaper } from "#contract/sessions/certificate.ts";
import type { Cdp } from "#evidence/proofs/document.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import type { Answer, Call } from "../../../http/call.ts";
import { matchesEtag } from "../../../http/etag.ts";
import type { Deps } from "../deps.ts";
import { requireWithProof } from "../rows.ts";
import { type Certificate, certificateOf } from "./content.ts";
import { certificateHtml, HTML_HEADERS } from "./html.ts";
import { certificatePdf } from "./pdf.ts";

type Needs = Pick<Deps, "db" | "publicUrl">;

export const certificatePage = (deps: Needs, call: Call<typeof getCertificatePage>): Promise<Answer> =>
  answer(deps, call, {
    mediaType: "text/html; charset=utf-8",
    headers: HTML_HEADERS,
    make: async (certificate) => Buffer.from(certificateHtml(certificate)),
  });

export const certificatePaper = (deps: Needs, call: Call<typeof getCertificatePaper>): Promise<Answer> =>
  answer(deps, call, {
    mediaType: "application/pdf",
    headers: { "x-content-type-options": "nosniff" },
    make: certificatePdf,
  });

interface Form {
  mediaType: string;
  headers: Record<string, string>;
  make(certificate: Certificate): Promise<Buffer>;
}

async function answer(
  { db, publicUrl }: Needs,
  call: Call<typeof getCertificatePage | typeof getCertificatePaper>,
  { mediaType, headers, make }: Form,
): Promise<Answer> {
  const session = await requireWithProof(db.soft, call.account.id, call.params.session_id);
  const { document } = session;
  if (document === null)
    throw new Fault(session.ended_at === null ? "session.proof-pending" : "session.no-proof");
  const bytes = await once(document, mediaType, `${publicUrl()}/verify`, make);
  const etag = `"${createHash("sha256").update(bytes).digest("hex").slice(0, 32)}"`;
  if (matchesEtag(call.headers["if-none-match"], etag)) return { status: 304, headers: { ...headers, etag } };
  return { status: 200, bytes, mediaType, headers: { ...headers, etag } };
}

/** Setting a page takes as long as a hundred other answers: who asks for the same again is given the same. */
const KEPT_MAX = 32;
const kept = new Map<string, Promise<Buffer>>();

function once(document: Buffer, mediaType: string, verifyUrl: string, make: Form["make"]): Promise<Buffer> {
  const name = `${createHash("sha256").update(document).digest("hex")} ${mediaType} ${verifyUrl}`;
  const known = kept.get(name);
  kept.delete(name);
  const made = known ?? (async () => make(certificateOf(readProof(document), verifyUrl)))();
  kept.set(name, made);
  made.catch(() => kept.delete(name));
  for (const oldest of kept.keys()) if (kept.size > KEPT_MAX) kept.delete(oldest);
  return made;
}

/** Nothing is certified of a document that somebody changed in the database. */
function readProof(document: Buffer): Cdp {
  const { valid, failures } = verifyProof(document, { level: 1 });
  if (!valid) throw new Error(`a stored proof does not verify: ${failures.join(", ")}`);
  return JSON.parse(document.toString()) as Cdp;
}
