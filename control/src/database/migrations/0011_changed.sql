-- The zone's serial asks for the newest change every few seconds, which read every workload there ever was.
create index workloads_changed on workloads (greatest(updated_at, deleted_at));
