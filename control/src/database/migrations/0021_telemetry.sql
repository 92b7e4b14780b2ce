-- Figures that servers report. No references: a report would hold back whoever changes the server meanwhile.
-- What is left of a server or a device that is gone goes with its time.

create table server_telemetry (
  server_id   uuid not null,
  -- The server's own number: what is told again is known by it.
  sequence    bigint not null,
  -- Its end, in whole intervals of time: one row for each, so that time bounds the rows however often a server tells.
  slot        bigint not null,
  started_at  timestamptz not null,
  ended_at    timestamptz not null,
  -- Samples that the server gave up before this one.
  dropped     integer not null,
  agent       jsonb not null,
  received_at timestamptz not null default now(),
  primary key (server_id, sequence)
);
create unique index server_telemetry_slot on server_telemetry (server_id, slot);
create index server_telemetry_time on server_telemetry (server_id, ended_at);
create index server_telemetry_old on server_telemetry using brin (ended_at);

create table device_telemetry (
  device_id   uuid not null,
  sequence    bigint not null,
  started_at  timestamptz not null,
  ended_at    timestamptz not null,
  frames      integer not null,
  errors      integer not null,
  detections  integer not null,
  latency_p50 real,
  latency_p95 real,
  pipelines   jsonb not null,
  primary key (device_id, sequence)
);
create index device_telemetry_time on device_telemetry (device_id, ended_at);
create index device_telemetry_old on device_telemetry using brin (ended_at);

-- When a rollout changed a device, and what was counted of its devices since.
alter table rollout_devices add column changed_at timestamptz;
alter table rollouts add column figures jsonb;
alter table rollouts add column figures_at timestamptz;
