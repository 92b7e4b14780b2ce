// SPDX-License-Identifier: Apache-2.0
/**
 * Event objects: what clients are told of the journal. A type that is not in this table is told to
 * nobody, and of a payload exactly the members named here: whoever adds one to the journal publishes
 * nothing by it.
 */
import { createHash } from "node:crypto";
import type { Static } from "typebox";
import type { Event } from "#contract/platform/events.ts";
import type { EventType } from "#contract/platform/vocabulary.ts";
import type { JournalRow } from "../journal/index.ts";

export interface EventRow extends JournalRow {
  subject: string;
}

interface Projection {
  type: EventType;
  /** What the subject is called; absent when it is the account itself. */
  subject?: string;
  members?: readonly string[];
}

const session = (type: EventType, members: string[] = []) => ({ type, subject: "session_id", members });
const workload = (type: EventType, members: string[] = []) => ({ type, subject: "workload_id", members });

const instance = (type: EventType, members: string[] = []) => ({ type, subject: "instance", members });

const attestation = (type: EventType) => ({
  ...{ type, subject: "attestation_id" },
  members: ["workload", "instance", "platform", "hardware", "purpose", "failed"],
});

/** By the journal's type. */
const PROJECTIONS: Record<string, Projection> = {
  "session.created": session("session.created", ["data_classification", "ttl_seconds"]),
  "session.extended": session("session.extended", ["ttl_seconds"]),
  "session.exec_ended": session("session.exec_ended", ["exit_code", "timed_out", "duration_ms", "lost"]),
  "session.destroyed": session("session.destroyed", ["trigger", "outcome"]),
  "session.expired": session("session.expired", ["trigger", "outcome"]),
  "session.expired_unclean": session("session.expired_unclean", ["trigger", "outcome", "proof"]),
  "session.failed": session("session.failed"),
  "workload.created": workload("workload.created", ["name"]),
  "workload.starting": workload("workload.starting"),
  "workload.vmRestarted": workload("workload.restarting"),
  "workload.forcedRestart": workload("workload.restarting"),
  "workload.running": workload("workload.running"),
  "workload.stopping": workload("workload.stopping"),
  "workload.stopped": workload("workload.stopped"),
  "workload.failedToStart": workload("workload.failed"),
  "workload.deleted": workload("workload.deleted"),
  "instance.created": instance("instance.created", ["agent"]),
  "instance.ready": instance("instance.ready"),
  "instance.stopping": instance("instance.stopping"),
  "instance.stopped": instance("instance.stopped", ["failure_code"]),
  "instance.starting": instance("instance.starting"),
  "instance.restarting": instance("instance.restarting"),
  "instance.running": instance("instance.running"),
  "instance.key_replaced": instance("instance.key_replaced"),
  "instance.key_applied": instance("instance.key_applied"),
  "instance.failed": instance("instance.failed"),
  "instance.egress_blocked": instance("instance.egress_blocked", ["egress_bytes"]),
  "instance.terminating": instance("instance.terminating"),
  "instance.terminated": instance("instance.terminated"),
  "attestation.accepted": attestation("attestation.accepted"),
  "attestation.refused": attestation("attestation.refused"),
  "attestation.revoked": attestation("attestation.revoked"),
  "balance.low": { type: "account.balance_low", members: ["balance_micros"] },
  "balance.exhausted": { type: "account.balance_exhausted", members: ["balance_micros"] },
  "account.tier_changed": { type: "account.tier_changed", members: ["tier"] },
  "webhook.disabled": { type: "webhook.disabled", subject: "webhook_id", members: ["reason"] },
  "webhook.test": { type: "webhook.test", subject: "webhook_id" },
};

/** The journal's types behind these types of events. */
export const journalTypesOf = (types: readonly EventType[]): string[] =>
  Object.entries(PROJECTIONS).flatMap(([journalled, { type }]) => (types.includes(type) ? [journalled] : []));

/** Everything that is told of the payloads of such entries. */
export const membersOf = (prefix: string): string[] => {
  const told = Object.entries(PROJECTIONS).filter(([journalled]) => journalled.startsWith(prefix));
  return [...new Set(told.flatMap(([, { members = [] }]) => members))];
};

export const eventTypeOf = (journalled: string): EventType | null => PROJECTIONS[journalled]?.type ?? null;

export function showEvent(account: string, row: EventRow): Static<typeof Event> {
  const projection = PROJECTIONS[row.type]!;
  const payload = row.payload as Record<string, unknown>;
  const told = (projection.members ?? []).filter((member) => payload[member] !== undefined);
  return {
    id: eventIdOf(account, row.seq),
    object: "event",
    type: projection.type,
    created_at: row.at.toISOString(),
    data: {
      ...(projection.subject === undefined ? {} : { [projection.subject]: row.subject }),
      ...Object.fromEntries(told.map((member) => [member, payload[member]])),
    },
  };
}

const SEQ_DIGITS = 12;

/**
 * The number within the account's journal and a digest of both: one of its kind in the whole
 * installation, found without a column or an index of its own, and no other account's.
 */
export function eventIdOf(account: string, seq: number): string {
  const digest = createHash("sha256").update(`${account} ${seq}`).digest("hex").slice(0, 20);
  return `evt_${seq.toString(16).padStart(SEQ_DIGITS, "0")}${digest}`;
}

/** Null for what is no id of this account's. */
export function seqOfEvent(account: string, id: string): number | null {
  if (!/^evt_[0-9a-f]{32}$/.test(id)) return null;
  const seq = Number.parseInt(id.slice(4, 4 + SEQ_DIGITS), 16);
  return eventIdOf(account, seq) === id ? seq : null;
}
