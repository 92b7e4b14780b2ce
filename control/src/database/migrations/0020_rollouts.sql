-- A change of pipelines that is brought to many devices in stages, watched, and taken back when it fails.

create table rollouts (
  id             uuid primary key,
  party_id       uuid not null references parties (id),
  name           text not null,
  -- {"Pipelines": […]}, or {"Replaces": model, "Function": model, "Version": n}; versions are fixed when it is made.
  change         jsonb not null,
  -- [{"Upto": n, "HoldSeconds": n}]: how many devices have been changed when the stage is over.
  stages         jsonb not null,
  abort          jsonb not null,
  rolls_back     boolean not null,
  timeout_s      integer not null,
  status         text not null default 'running' check (status in
    ('running', 'paused', 'rolling_back', 'succeeded', 'cancelled', 'aborted', 'rolled_back')),
  stage          integer not null default 0,
  -- Since when every device of the stage is what it will be.
  settled_at     timestamptz,
  reason         text,
  -- When it is looked at next; nothing of a rollout's course is kept in a process.
  next_at        timestamptz not null default now(),
  created_by     text not null,
  version        integer not null default 1,
  created_at     timestamptz not null default date_trunc('milliseconds', now()),
  updated_at     timestamptz not null default date_trunc('milliseconds', now()),
  ended_at       timestamptz
);
create index rollouts_party on rollouts (party_id, created_at, id);
create index rollouts_due on rollouts (next_at) where ended_at is null;

create table rollout_devices (
  rollout_id     uuid not null references rollouts (id) on delete cascade,
  -- Not a reference: of a device that is removed the rollout still says what became of it.
  device_id      uuid not null,
  name           text not null,
  position       integer not null,
  -- Null: it is in none, since it cannot take the change.
  stage          integer,
  -- Of the change.
  status         text not null check (status in
    ('queued', 'changing', 'healthy', 'failed', 'timed_out', 'overtaken', 'gone', 'skipped')),
  -- Of taking it back.
  back           text check (back in ('asked', 'done', 'unanswered')),
  error          text,
  version_before integer not null,
  version_given  integer,
  version_back   integer,
  -- The number of its server's wish that told it last.
  wish           bigint,
  since          timestamptz not null default now(),
  open           boolean not null default true,
  primary key (rollout_id, device_id)
);
create index rollout_devices_place on rollout_devices (rollout_id, position);
-- A device is in one rollout at a time.
create unique index rollout_devices_open on rollout_devices (device_id) where open;

-- Models that an open rollout brings, or would take devices back to: they are not deleted meanwhile.
create table rollout_models (
  rollout_id     uuid not null references rollouts (id) on delete cascade,
  function_id    uuid not null references functions (id),
  primary key (rollout_id, function_id)
);
create index rollout_models_function on rollout_models (function_id);

-- The wish that a server tried last, well or not, and the devices whose part of it did not run; empty: it cannot say which.
alter table servers add column tried_version bigint not null default 0;
alter table servers add column failed_devices uuid[] not null default '{}';
