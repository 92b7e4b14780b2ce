// SPDX-License-Identifier: Apache-2.0
/** Verification for anybody, and the keys it needs. Nothing is stored. */
import { Fault } from "#contract/errors.ts";
import type { getKey, verifyProof as verifyOperation } from "#contract/sessions/verify.ts";
import { openCheckpoint } from "#evidence/log/checkpoint.ts";
import { openInclusion } from "#evidence/log/inclusion.ts";
import { PinnedIssuer } from "#evidence/proofs/certificate.ts";
import { openProof } from "#evidence/proofs/reading.ts";
import { type VerifyOptions, verifyProof } from "#evidence/proofs/verify.ts";
import { checkpointOf, newestCheckpoint } from "../../core/log/index.ts";
import { findProofKey, listIssuers, revokedIssuerIds } from "../../core/proofs/index.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { wireTime } from "./time.ts";

/** How long the list of issuers is taken as it was; a new one appears when a host rotates. */
const ISSUERS_MS = 5000;

export function verifier({ db }: Pick<Deps, "db">): (call: Call<typeof verifyOperation>) => Promise<Answer> {
  let pinned = { issuers: [] as PinnedIssuer[], revokedIssuerIds: [] as string[], until: 0 };
  const trusted = async () => {
    if (performance.now() > pinned.until) {
      const list = await listIssuers(db.soft);
      pinned = {
        issuers: list.flatMap(usable),
        revokedIssuerIds: await revokedIssuerIds(db.soft),
        until: performance.now() + ISSUERS_MS,
      };
    }
    return pinned;
  };
  return async (call) => {
    const body = requireObject(call.raw);
    const opened = openProof(call.raw);
    // A document that names one of our keys is held to that key, whoever else claims to have issued it.
    const known = opened.keyId === null ? null : await findProofKey(db.soft, opened.keyId);
    const knownKeys = new Map(known === null ? [] : [[known.key_id, known.public_key]]);
    const transparency = Object.hasOwn(body, "transparency")
      ? await ownLog(db.soft, body.transparency)
      : null;
    const revokedKeyIds = known?.revoked_at == null ? [] : [known.key_id];
    const own = await trusted();
    const options = {
      issuers: own.issuers,
      revokedIssuerIds: own.revokedIssuerIds,
      revokedKeyIds,
      knownKeys,
      ...(transparency !== null && { transparency }),
    };
    return { status: 200, body: verifyProof(opened, options) };
  };
}

/** Against our own log, for want of one that the caller holds; a document of another log finds nothing to agree with. */
async function ownLog(
  db: Db,
  inclusion: unknown,
): Promise<NonNullable<VerifyOptions["transparency"]> | null> {
  const size = openInclusion(inclusion)?.checkpoint.size;
  const signed = size === undefined ? null : await checkpointOf(db, size);
  const held = openCheckpoint((signed ?? (await newestCheckpoint(db)))?.note ?? "");
  return held === null ? null : { inclusion, trust: { held }, byOperator: true };
}

/** A host that announces a malformed key must not take verification from everybody else. */
function usable(issuer: { issuerId: string; publicKey: string }): PinnedIssuer[] {
  try {
    return [new PinnedIssuer(issuer)];
  } catch {
    return [];
  }
}

/** Invalid documents are verdicts; what is no JSON object at all is a bad request. */
function requireObject(raw: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(raw.toString());
  } catch {
    throw new Fault("request.malformed", { detail: "The body is not JSON." });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Fault("request.malformed", { detail: "The body is not a JSON object." });
  }
  return value as Record<string, unknown>;
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
