// SPDX-License-Identifier: Apache-2.0
/**
 * What a verdict rests on, by hash, and whether any of it was revoked since: a firmware that turned out to be broken, a certificate of
 * a stolen key, an image that lets somebody in. A verdict that rests on one is judged again and loses its acceptance.
 */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import { type Evidence, recogniseEvidence } from "#evidence/recognise.ts";
import type { Step } from "#evidence/steps.ts";
import { readCollateral } from "#evidence/tdx/collateral.ts";
import { parseTdxQuote } from "#evidence/tdx/quote.ts";
import type { Certificate } from "#evidence/x509/certificate.ts";
import { readableCertificatesOf } from "#evidence/x509/files.ts";
import type { Db } from "../../database/open.ts";

const HASH = /^([0-9a-f]{2}){20,64}$/;
const RESTS_MAX = 512;

export interface RestsOn {
  evidence: Uint8Array;
  beside: readonly Uint8Array[];
  policy: object | null;
  /** Of an image, a launch. */
  also: readonly string[];
}

/**
 * Reference values of the policy, certificates and their keys in the evidence and beside it. Null for more than can be looked up: who
 * made the evidence decides what comes first, and what was cut off could be the one that was revoked.
 */
export function referencesOf({ evidence, beside, policy, also }: RestsOn): string[] | null {
  const found = new Set<string>(also);
  const visit = (value: unknown): void => {
    if (typeof value === "string" && HASH.test(value.toLowerCase())) found.add(value.toLowerCase());
    else if (typeof value === "object" && value !== null) for (const one of Object.values(value)) visit(one);
  };
  visit(policy);
  for (const { der, spki } of [
    ...certificatesIn(evidence, beside),
    ...beside.flatMap(readableCertificatesOf),
  ])
    for (const bytes of [der, spki]) found.add(createHash("sha256").update(bytes).digest("hex"));
  return found.size > RESTS_MAX ? null : [...found];
}

/** Every certificate that whoever judges the evidence can find in it, by the same readers: one that is not here vouched for nothing. */
function certificatesIn(file: Uint8Array, beside: readonly Uint8Array[]): readonly Certificate[] {
  let known: Evidence;
  try {
    known = recogniseEvidence(file, beside);
  } catch {
    return [];
  }
  if (known.platform === "tpm") return (known.evidence.endorsement ?? []).flatMap(readableCertificatesOf);
  if (known.platform === "sev-snp")
    return [known.evidence.leaf, ...known.evidence.chain].flatMap(readableCertificatesOf);
  const { quote } = parseTdxQuote(known.evidence.quote);
  return [
    ...readCollateral(known.evidence.collateral).certificates,
    ...(quote === null ? [] : readableCertificatesOf(quote.certificates)),
  ];
}

/** The step that is asked of every verdict, last. */
export async function revocationStep(db: Db, restsOn: readonly string[] | null): Promise<Step> {
  const name = "not-revoked";
  if (restsOn === null)
    return {
      name,
      ok: false,
      detail: "It brings more certificates than are looked up: nobody knows what it rests on.",
    };
  const { rows } = await sql<{ value: string; reason: string }>`
    select value, reason from revoked_references where value = any(${restsOn}::text[]) order by value limit 1`.execute(
    db,
  );
  const found = rows[0];
  if (found === undefined)
    return {
      name,
      ok: true,
      detail: "Nothing that it rests on was revoked by this installation's operator.",
    };
  return { name, ok: false, detail: `It rests on ${found.value}, which was revoked: ${found.reason}` };
}
