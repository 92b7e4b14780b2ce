// SPDX-License-Identifier: Apache-2.0
/** The tables as Kysely sees them; the truth is migrations/*.sql. */
import type { ColumnType, Generated } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";

type Now = ColumnType<Date, Date | undefined, Date>;
type Json<T> = ColumnType<T, string, string>;

export interface Tables {
  accounts: {
    id: string;
    email: string;
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
  machines: {
    id: string;
    account_id: string;
    host_id: string | null;
    spec: Json<MachineSpec>;
    want: Generated<"up" | "down">;
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
  proof_keys: { key_id: string; public_key: string; certificate: Json<unknown>; created_at: Date };
  issuers: { issuer_id: string; public_key: string; first_seen: Now };
  proof_leaves: { position: number; machine_id: string; entry: Buffer; leaf_hash: Buffer };
  proof_log: { id: Generated<number>; size: number };
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
    body_hash: Buffer;
    status: number | null;
    body: string | null;
    headers: Json<Record<string, string>> | null;
    held_until: Date;
    expires_at: Date;
  };
  vault_data_keys: { id: Generated<number>; kek_id: string; wrapped: Buffer; created_at: Now };
  payment_events: { id: string; type: string; at: Now };
}
