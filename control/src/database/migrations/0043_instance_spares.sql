-- Machines that have booted and shown what they are before anybody asked for them. One has no tenant until it is taken, once.

alter table machines alter column account_id drop not null;
alter table machines add check (account_id is not null or surface = 'instances');

create table instance_spares (
  machine_id       text primary key references machines (id),
  agent            text not null,
  image_sha256     text not null,
  -- Of how many of its agent it is which: two replicas that make the same one cannot both.
  slot             integer not null,
  -- Since when it waits for whom it is for, in which start, and with which key of its own; all null before.
  warm_at          timestamptz,
  warm_incarnation integer,
  sealing_key      bytea,
  -- Whose it became. Never free again.
  instance_id      text references instances (id),
  created_at       timestamptz not null default now()
);
create unique index instance_spares_free on instance_spares (agent, slot) where instance_id is null;
