// SPDX-License-Identifier: Apache-2.0
/**
 * What may be done in the name of a party, by what one is to it. An operation names one scope; whoever
 * acts has it or is refused. Nothing is derived from names: what a level may do stands in these tables.
 *
 *  A. A person in their own name, and an administrator, have all of a party's scopes.
 *  B. What an organization grants its partner bounds each of the partner's people, and a partner's
 *     accountant has of it only what concerns money.
 *  C. A token that was narrowed has at most what it was narrowed to, whoever it acts for.
 */

import { SCOPES } from "#contract/identity/vocabulary.ts";

export type PartyKind = "user" | "organization" | "channel_partner";

export { SCOPES };
export type Scope = (typeof SCOPES)[number];

const READ: readonly Scope[] = ["organization:read", "models:read", "devices:health", "devices:read"];
const MONEY: readonly Scope[] = ["organization:read", "subscriptions:read", "subscriptions:write"];

/** Roles of members of an organization. */
export const ORGANIZATION_ROLES: Record<string, readonly Scope[]> = {
  administrator: SCOPES,
  operator: [...READ, "models:write", "devices:write", "subscriptions:read"],
  viewer: READ,
};

/** Roles of members of a channel partner, in the partner's own name. */
export const PARTNER_ROLES: Record<string, readonly Scope[]> = {
  administrator: ["organization:read", "organization:write", "subscriptions:read", "subscriptions:write"],
  account_manager: ["organization:read", "organization:write", "subscriptions:read"],
  accountant: MONEY,
};

/** What an organization lets a partner do in its name. */
export const ACCESS_LEVELS: Record<string, readonly Scope[]> = {
  organization_administrator: SCOPES,
  system_health_monitor: ["organization:read", "devices:health"],
  subscription_service_manager: MONEY,
};

/** Of a partner's level, what one of its people has (B). */
const throughPartner = (level: string, role: string): readonly Scope[] =>
  (ACCESS_LEVELS[level] ?? []).filter((scope) => role !== "accountant" || MONEY.includes(scope));

export interface Standing {
  kind: PartyKind;
  /** The caller is the party itself, or a client that was made for it. */
  self: boolean;
  /** Role as its member; null: none. */
  role: string | null;
  /** Of each partner of which the caller is somebody: what it was granted here, and the role there. */
  through: readonly { level: string; role: string }[];
}

/** Empty: nothing to do with it. */
export function scopesOf({ kind, self, role, through }: Standing): Scope[] {
  const own = role === null ? [] : (kind === "channel_partner" ? PARTNER_ROLES : ORGANIZATION_ROLES)[role];
  const all = kind === "channel_partner" ? PARTNER_ROLES.administrator! : SCOPES;
  const held = new Set<Scope>([
    ...(self ? all : []),
    ...(own ?? []),
    ...(kind === "organization" ? through : []).flatMap((one) => throughPartner(one.level, one.role)),
  ]);
  return SCOPES.filter((scope) => held.has(scope));
}
