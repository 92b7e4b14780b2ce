// SPDX-License-Identifier: Apache-2.0
/** Whose proofs are this installation's: for anybody, and what its operator takes back. */
import { Fault } from "#contract/errors.ts";
import type { revokeIssued } from "#contract/platform/issuers.ts";
import { listIssuers, revokeIssuer, revokeProofKey } from "../../core/proofs/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { PlatformDeps } from "./deps.ts";

/** How long one signed list is shown: anybody may ask, and each is a signature. */
const LIST_MS = 5_000;

export async function list({ db }: Pick<PlatformDeps, "db">): Promise<Answer> {
  return { status: 200, body: await listIssuers(db.soft) };
}

/** What `make` signs, made anew now and then. */
export function shownFor(make: () => Promise<object>): () => Promise<Answer> {
  let shown: { body: Promise<object>; until: number } | null = null;
  return async () => {
    if (shown === null || performance.now() > shown.until) {
      const body = make();
      shown = { body, until: performance.now() + LIST_MS };
      body.catch(() => {
        shown = null;
      });
    }
    return { status: 200, body: await shown.body };
  };
}

export async function revoke(
  { db }: Pick<PlatformDeps, "db">,
  call: Call<typeof revokeIssued>,
): Promise<Answer> {
  const { issuer_id, key_id } = call.body;
  const isKnown =
    issuer_id === undefined ? await revokeProofKey(db.run, key_id!) : await revokeIssuer(db.run, issuer_id);
  if (!isKnown) throw new Fault("keys.not-found");
  return { status: 200, body: { revoked: issuer_id ?? key_id! } };
}
