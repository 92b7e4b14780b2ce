-- What the disk of an instance is opened with, sealed by the vault; gone with the instance, and with it all that is on the disk.
create table instance_state_keys (
  instance_id text primary key references instances (id),
  key_sealed  bytea not null
);

-- Which key of its owner's an instance has: a claim with a lower number is an older one, which nobody may bring back.
alter table instances add column key_number integer not null default 1;
-- The one that was sealed to its machine last, and the one that its machine has shown that it lets in.
alter table instances add column key_told integer;
alter table instances add column key_applied integer;
update instances set key_told = 1, key_applied = 1 where status = 'ready';

-- When its machine's last start passed each stage.
alter table instances add column stages jsonb not null default '{}';
