-- Kept machines, the hosts that have them, and the workloads surface on top.

-- An account of the workloads surface is opened by the operator under a name and has no mailbox.
alter table accounts alter column email drop not null;
alter table accounts add column name text, add column wallet_address text;
alter table api_keys add column name text;

alter table machines drop constraint machines_want_check;
alter table machines add constraint machines_want_check check (want in ('up', 'halted', 'down'));
alter table machines
  add column surface text not null default 'sessions',
  -- Grows with every wish for a new start; the observed one says which start a host speaks of.
  add column incarnation integer not null default 1,
  add column observed_incarnation integer not null default 0,
  -- What it holds of its host. Released in the statement that records why.
  add column holds_compute boolean not null default false,
  add column holds_disk boolean not null default false;

-- Hosts as they were last heard. Room is counted here, under this row's lock: a conditional update
-- is evaluated again on the newest row, so parallel creates cannot oversell a host.
create table hosts (
  id           text primary key,
  facts        jsonb not null,
  cpu_millis   integer not null default 0,     -- what kept machines may have together
  memory_mib   integer not null default 0,
  disk_mib     integer not null default 0,
  cpu_used     integer not null default 0 check (cpu_used >= 0),
  memory_used  integer not null default 0 check (memory_used >= 0),
  disk_used    integer not null default 0 check (disk_used >= 0),
  created_at   timestamptz not null default now(),
  last_seen    timestamptz not null default now()
);

create table workload_tiers (
  tier_id             uuid primary key default gen_random_uuid(),
  name                text not null,
  cpus                integer not null,
  gpus                integer not null,
  memory_mb           integer not null,
  disk_gb             integer not null,
  cost_micros_per_min bigint not null check (cost_micros_per_min >= 0),
  unique (cpus, gpus, memory_mb, disk_gb)
);
insert into workload_tiers (name, cpus, gpus, memory_mb, disk_gb, cost_micros_per_min) values
  ('nano', 1, 0, 512, 5, 200),
  ('small', 1, 0, 2048, 10, 500),
  ('medium', 2, 0, 4096, 20, 1000),
  ('large', 4, 0, 8192, 40, 2000),
  ('xlarge', 8, 0, 16384, 80, 4000);

create table artifacts (
  version   text primary key,
  built_at  timestamptz not null,
  enabled   boolean not null default true
);

create table workloads (
  id                    uuid primary key,
  account_id            text not null references accounts (id),
  machine_id            text not null unique references machines (id),
  name                  text not null,
  artifacts_version     text not null,
  public_service        text not null,
  public_port           integer not null,
  cpus                  integer not null,
  gpus                  integer not null,
  memory_mb             integer not null,
  disk_gb               integer not null,
  domain                text not null unique,
  -- The compose file, env values, files and registry logins; vault, opened for its machine only.
  payload_sealed        bytea not null,
  -- The compose file again, by itself: whoever only looks need not open megabytes of files.
  compose_sealed        bytea not null,
  -- What may be shown of it.
  env_names             text[] not null default '{}',
  file_names            text[] not null default '{}',
  registry_servers      text[] not null default '{}',
  cost_micros_per_min   bigint not null,       -- frozen at creation
  -- The projection of workload_events, written only beside them.
  status                text not null default 'scheduled',
  -- Whole milliseconds, as the wire and its cursors write them.
  created_at            timestamptz not null default date_trunc('milliseconds', now()),
  updated_at            timestamptz not null default now(),
  deleted_at            timestamptz
);
create index workloads_account on workloads (account_id, created_at, id) where deleted_at is null;

create table workload_events (
  seq          bigint generated always as identity primary key,
  event_id     uuid not null unique default gen_random_uuid(),
  workload_id  uuid not null references workloads (id) on delete cascade,
  kind         text not null,
  details      jsonb not null default '{}',
  at           timestamptz not null default clock_timestamp()
);
create index workload_events_workload on workload_events (workload_id, seq);
