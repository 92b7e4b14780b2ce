// SPDX-License-Identifier: Apache-2.0
/** Verification for anybody, and the keys it needs. Nothing is stored. */
import { Fault } from "#contract/errors.ts";
import type { getKey, verifyProof as verifyOperation } from "#contract/sessions/verify.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { findProofKey, listIssuers } from "../../core/proofs/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { wireTime } from "./time.ts";

/** How long the list of issuers is taken as it was; a new one appears when a host rotates. */
const ISSUERS_MS = 5000;

export function verifier({ db }: Pick<Deps, "db">): (call: Call<typeof verifyOperation>) => Promise<Answer> {
  let issuers: { list: { issuerId: string; publicKey: string }[]; until: number } = { list: [], until: 0 };
  return async (call) => {
    requireObject(call.raw);
    if (performance.now() > issuers.until) {
      issuers = { list: await listIssuers(db.soft), until: performance.now() + ISSUERS_MS };
    }
    return { status: 200, body: verifyProof(call.raw, { issuers: issuers.list }) };
  };
}

/** Invalid documents are verdicts; what is no JSON object at all is a bad request. */
function requireObject(raw: Buffer): void {
  let value: unknown;
  try {
    value = JSON.parse(raw.toString());
  } catch {
    throw new Fault("request.malformed", { detail: "The body is not JSON." });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Fault("request.malformed", { detail: "The body is not a JSON object." });
  }
}

export async function key({ db }: Pick<Deps, "db">, call: Call<typeof getKey>): Promise<Answer> {
  const row = await findProofKey(db.soft, call.params.id);
  if (row === null) throw new Fault("keys.not-found");
  return {
    status: 200,
    body: {
      key_id: row.key_id,
      algorithm: "Ed25519",
      public_key: row.public_key,
      created_at: wireTime(row.created_at),
      certificate: row.certificate,
    },
  };
}
