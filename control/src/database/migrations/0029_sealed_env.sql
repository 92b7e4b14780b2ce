-- Variables whose values come sealed to the machine's key: their names, and the box, which nobody here opens.
alter table workloads add column sealed_env_names text[] not null default '{}';
create table workload_sealed_env (
  workload_id uuid primary key references workloads (id),
  -- Of the X25519 key that the box is sealed to; another start has another.
  key_sha256 bytea not null,
  box bytea not null,
  given_at timestamptz not null default now()
);
