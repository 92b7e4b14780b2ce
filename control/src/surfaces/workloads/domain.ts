// SPDX-License-Identifier: Apache-2.0
/**
 * A domain that a customer brings: which names may be brought, and how it is shown whose it is. The
 * attackers want another's name served by them: by bringing it, by writing it another way, by keeping it
 * after it was sold.
 *
 *  A. There is one way to write a name here: lower case, letters, digits and hyphens, no dot at the end;
 *     international names in their ASCII form. Whoever wrote one name in two ways would have it twice.
 *  B. Whose it is, its own zone says: a text that is this account's and nobody else's. It is known before
 *     there is a workload, so the owner can set it first, and says nothing about the account.
 *  C. It is asked again (domain-checks.ts): a name may be sold.
 */
import { createHash } from "node:crypto";
import { Fault } from "#contract/errors.ts";
import type { DomainLooks } from "../../core/ingress/index.ts";

const DOMAIN_MAX = 253;
/** The name of the proof has to be a name as well. */
const PROOF_PREFIX = "_casemate-challenge.";
const LABEL = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/;
/** Names that mean something else to everybody who asks (RFC 6761, 6762, 7686, 8375). */
const SPECIAL = new Set(["localhost", "local", "internal", "invalid", "onion", "arpa"]);

/** What is wrong with it, or null. */
export function domainFault(text: string, zone: string): string | null {
  if (text.length > DOMAIN_MAX - PROOF_PREFIX.length)
    return `is longer than ${DOMAIN_MAX - PROOF_PREFIX.length} characters`;
  if (text !== text.toLowerCase()) return "is to be written in lower case";
  if (text.endsWith(".")) return "is to be written without a dot at its end";
  if (/[^ -~]/.test(text)) return "is to be written in its ASCII form (xn--…)";
  const labels = text.split(".");
  if (!labels.every((label) => LABEL.test(label)))
    return "is not a domain name: letters, digits and hyphens between dots";
  if (labels.length < 2) return "needs at least two labels";
  const last = labels.at(-1)!;
  if (/^[0-9]+$/.test(last)) return "is an address and not a name";
  if (SPECIAL.has(last)) return `is below .${last}, which is nobody's to bring`;
  if (text === zone || text.endsWith(`.${zone}`) || zone.endsWith(`.${text}`))
    return "is in or above the zone from which workloads get their names";
  return null;
}

/** B. */
export function proofOf(domain: string, account: string): { name: string; text: string } {
  const digest = createHash("sha256").update(`casemate domain of ${account}`).digest("base64url");
  return { name: PROOF_PREFIX + domain, text: `casemate=${digest}` };
}

/** What keeps this account from bringing the domain now, for its owner to mend; null: nothing. */
export async function domainIssue(
  looks: DomainLooks,
  about: { domain: string; account: string; zone: string },
): Promise<string | null> {
  const { domain, account, zone } = about;
  const fault = domainFault(domain, zone);
  if (fault !== null) return `the domain ${fault}`;
  const { name, text } = proofOf(domain, account);
  const there = await looks.hasText(name, text);
  if (there === true) return null;
  const record = `${name}. TXT "${text}"`;
  return there === false
    ? `create the record that shows the domain to be yours, and try again: ${record}`
    : `the domain's name servers gave no answer; the record that shows it to be yours is ${record}`;
}

export async function requireDomain(
  looks: DomainLooks,
  about: { domain: string; account: string; zone: string },
): Promise<void> {
  const detail = await domainIssue(looks, about);
  if (detail !== null)
    throw new Fault("workload.domain", { detail }, { issues: [{ path: "domain", message: detail }] });
}
