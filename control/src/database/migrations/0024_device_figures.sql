-- Runs of models that each server told of since it came in; counted from here on. No reference, as those of
-- telemetry: what is left of a server that is gone is swept.
create table server_inferences (
  server_id   uuid primary key,
  counted     bigint not null
);

-- Null: nothing was said of it.
alter table device_telemetry add column inferences bigint;
alter table device_telemetry add column dropped integer;
alter table device_telemetry add column queue_depth integer;
