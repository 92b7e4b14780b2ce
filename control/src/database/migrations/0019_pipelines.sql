-- What each device runs, and what it ran before.

alter table devices add column pipelines jsonb not null default '[]';
alter table devices add column pipelines_version integer not null default 0;

create table pipeline_revisions (
  device_id   uuid not null references devices (id) on delete cascade,
  version     integer not null,
  pipelines   jsonb not null,
  note        text not null,
  created_by  text not null,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  primary key (device_id, version)
);

-- Which models those are of the present pipelines: a model that a device runs is not deleted under it.
create table device_models (
  device_id   uuid not null references devices (id) on delete cascade,
  function_id uuid not null references functions (id),
  number      integer not null,
  primary key (device_id, function_id, number)
);
create index device_models_function on device_models (function_id, number);
