-- Instances: a machine of one tenant's own, with a name below the tenant's slug.

-- The slug of an account, without which it has no instances. Cycles of usage are counted from here.
create table instance_tenants (
  account_id   text primary key references accounts (id),
  slug         text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$'),
  signed_up_at timestamptz not null default date_trunc('seconds', now())
);

create table instances (
  id                 text primary key check (id ~ '^inst_[0-9a-f]{32}$'),
  account_id         text not null references accounts (id),
  machine_id         text not null unique references machines (id),
  name               text not null check (name ~ '^[a-z0-9]{8}$'),
  hostname           text not null,
  agent              text not null,
  public_key         text not null,
  inference_mode     text not null,
  inference_model    text,
  egress_limit_bytes bigint not null,
  -- What its machine is started from.
  image_sha256       text not null check (image_sha256 ~ '^[0-9a-f]{64}$'),
  status             text not null default 'provisioning'
    check (status in ('provisioning', 'ready', 'failed', 'terminating', 'terminated')),
  failure_code       text,
  failure_message    text,
  terminated_reason  text,
  -- Of the machine that runs now: made inside it, and where it is reached.
  ssh                jsonb,
  created_at         timestamptz not null default date_trunc('milliseconds', now()),
  ready_at           timestamptz,
  terminated_at      timestamptz,
  -- Counts what is shown of it.
  version            integer not null default 1
);
create index instances_account on instances (account_id, created_at desc, id desc);
create index instances_failed on instances (id) where status = 'failed';

-- A name belongs to one instance of its account, and for 30 days after its end to nobody: whoever kept it
-- would reach another machine otherwise. The row is the reservation, so two that want it at once cannot have it.
create table instance_names (
  account_id  text not null references accounts (id),
  name        text not null,
  instance_id text not null,
  held_until  timestamptz not null default 'infinity',
  primary key (account_id, name)
);

alter table attestations add column instance_id text references instances (id);
