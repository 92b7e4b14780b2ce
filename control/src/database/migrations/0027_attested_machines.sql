-- Workloads in machines that attest themselves. Null: containers, which do not.
alter table workloads add column image_sha256 text check (image_sha256 ~ '^[0-9a-f]{64}$');

-- Which image (by the hash of its metadata) may be started with which launch manifest. Only with an approval are secrets given
-- to it, the key of the workload's disk among them. One without approval was asked for and refused.
create table workload_launches (
  workload_id uuid not null references workloads (id),
  image_sha256 text not null check (image_sha256 ~ '^[0-9a-f]{64}$'),
  launch_sha256 text not null check (launch_sha256 ~ '^[0-9a-f]{64}$'),
  approved_at timestamptz,
  -- The key that did.
  approved_by text,
  seen_at timestamptz not null default now(),
  primary key (workload_id, image_sha256, launch_sha256)
);

-- Of the disk that outlives a machine's starts. Gone with the workload: what is left of the disk is noise then.
create table workload_state_keys (
  workload_id uuid primary key references workloads (id),
  key_sealed bytea not null,
  created_at timestamptz not null default now()
);

-- What an account asks of the machines its workloads run in, and whether a change by one of its keys approves itself.
alter table accounts
  add column isolation text check (isolation in ('container', 'vm', 'vm-vtpm', 'vm-snp', 'vm-tdx')),
  add column launch_approval text not null default 'change' check (launch_approval in ('change', 'explicit'));

-- Verdicts on evidence, accepted or not, with all that somebody needs to judge it again.
create table attestations (
  id text primary key,
  account_id text not null references accounts (id),
  -- The workload that was challenged; null for evidence that somebody brought.
  workload_id uuid references workloads (id),
  machine_id text,
  purpose text not null check (purpose in ('report', 'seal', 'brought')),
  platform text,
  accepted boolean not null,
  uncheckable boolean not null,
  hardware boolean not null,
  steps jsonb not null,
  unasked jsonb not null,
  evidence bytea not null,
  beside jsonb not null,
  -- As judged: policy, and what was to be bound.
  policy jsonb,
  bound bytea,
  key_name text,
  nonce bytea,
  created_at timestamptz not null default now(),
  judged_at timestamptz not null default now()
);
create index attestations_by_account on attestations (account_id, created_at, id);
create index attestations_by_workload on attestations (workload_id, created_at);
create index attestations_standing on attestations (judged_at) where accepted;
