-- Where the disk of a kept machine is that is on its way from that host to the one that has the machine now,
-- or to none yet. Its room counts there until it has arrived. Null: the disk is where the machine is.
alter table machines
  add column disk_host_id text,
  -- Grows with every host that the machine is given to: a disk that was on its way to an earlier one has not arrived.
  add column carry integer not null default 0;
create index machines_disk_host on machines (disk_host_id) where disk_host_id is not null;
