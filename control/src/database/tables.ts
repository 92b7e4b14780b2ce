// SPDX-License-Identifier: Apache-2.0
/** The tables as Kysely sees them; the truth is migrations/*.sql. */
import type { ColumnType, Generated } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";

type Now = ColumnType<Date, Date | undefined, Date>;
type Json<T> = ColumnType<T, string, string>;

export interface Tables {
  accounts: {
    id: string;
    email: string | null;
    name: string | null;
    wallet_address: string | null;
    jurisdiction: string;
    tier: Generated<string>;
    cycle_start: Date;
    created_at: Now;
    journal_seq: Generated<number>;
    journal_head: Generated<Buffer>;
  };
  api_keys: {
    id: string;
    account_id: string | null;
    surface: string;
    prefix: string;
    hash: Buffer;
    scopes: string[];
    created_at: Now;
    expires_at: Date | null;
    revoked_at: Date | null;
    name: string | null;
  };
  quota_counters: { account_id: string; quota: string; period: Date; used: number };
  ledger_entries: {
    id: Generated<number>;
    account_id: string;
    machine_id: string;
    quota: string;
    period: Date;
    reason: string;
    quantity: number;
    at: Now;
  };
  money_entries: {
    id: Generated<number>;
    account_id: string;
    machine_id: string | null;
    kind: "credit" | "charge" | "adjustment";
    amount_micros: number;
    reference: string | null;
    from_at: Date | null;
    to_at: Date | null;
    at: Now;
  };
  balances: {
    account_id: string;
    balance_micros: Generated<number>;
    rate_micros_per_min: Generated<number>;
    metered_at: Now;
    low_since: Date | null;
    low_told: Generated<boolean>;
    broke_since: Date | null;
    broke_told: Generated<boolean>;
  };
  meters: {
    machine_id: string;
    account_id: string;
    rate_micros_per_min: number;
    state: "idle" | "admitted" | "running";
    meter_from: Date | null;
    meter_to: Date | null;
    metered_micros: Generated<number>;
  };
  machines: {
    id: string;
    /** Null: a spare (surfaces/instances/spares.ts). */
    account_id: string | null;
    host_id: string | null;
    spec: Json<MachineSpec>;
    surface: Generated<string>;
    want: Generated<"up" | "halted" | "down">;
    incarnation: Generated<number>;
    observed_incarnation: Generated<number>;
    holds_compute: Generated<boolean>;
    holds_disk: Generated<boolean>;
    failed_hosts: Generated<string[]>;
    disk_host_id: string | null;
    carry: Generated<number>;
    generation: Generated<number>;
    end_trigger: string | null;
    expires_at: Date | null;
    state: Generated<string>;
    observed_generation: Generated<number>;
    fault: Json<{ code: string; detail?: string } | null> | null;
    created_at: Date;
    started_at: Date | null;
    ended_at: Date | null;
  };
  machine_leavings: { machine_id: string; host_id: string; generation: number; incarnation: number };
  sessions: {
    id: string;
    account_id: string;
    machine_id: string;
    data_classification: string;
    jurisdiction: string;
    ttl_seconds: number | null;
    status: Generated<string>;
    executing_by: string | null;
    created_at: Date;
    ended_at: Date | null;
    version: Generated<number>;
  };
  proofs: {
    machine_id: string;
    subject_id: string;
    account_id: string;
    document: Buffer;
    salt_sealed: Buffer;
    outcome: string;
    key_id: string;
    created_at: Now;
  };
  proof_keys: {
    key_id: string;
    public_key: string;
    certificate: Json<unknown>;
    created_at: Date;
    revoked_at: Generated<Date | null>;
  };
  issuers: { issuer_id: string; public_key: string; first_seen: Now; revoked_at: Generated<Date | null> };
  proof_leaves: {
    position: number;
    machine_id: string | null;
    image_sha256: string | null;
    entry: Buffer;
    leaf_hash: Buffer;
  };
  proof_log: { id: Generated<number>; size: number };
  log_nodes: { level: number; position: number; hash: Buffer };
  journal: {
    account_id: string;
    seq: number;
    at: Now;
    type: string;
    subject: string;
    payload: unknown;
    salt: Buffer | null;
    payload_hash: Buffer;
    head: Buffer;
  };
  idempotency: {
    account_id: string;
    route: string;
    key: string;
    request_sealed: Buffer;
    status: number | null;
    answer_sealed: Buffer | null;
    in_effect: Generated<boolean>;
    held_until: Date;
    expires_at: Date;
  };
  vault_data_keys: { id: Generated<number>; kek_id: string; wrapped: Buffer; created_at: Now };
  payment_events: { id: string; type: string; at: Now };
}
