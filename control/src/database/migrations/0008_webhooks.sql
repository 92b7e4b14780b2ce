-- Webhooks: where an account wants to be told, what is to be told there, and how each try went.

-- The job queue's own tables are made in it when the first webhook is (core/jobs). The schema is made here,
-- so that a role without the right to make one is noticed at the start and not at the first webhook.
do $$ begin
  if to_regnamespace('casemate_jobs') is null then
    create schema casemate_jobs;
  end if;
end $$;

create table webhook_endpoints (
  id              text primary key check (id ~ '^whk_[0-9a-f]{32}$'),
  account_id      text not null references accounts (id),
  -- Sealed: paths and queries of such addresses are often the receiver's only secret.
  url_sealed      bytea not null,
  events          text[] not null,
  description     text not null default '',
  -- Secrets are numbered; what is sealed as one cannot be opened as another.
  secret_number   integer not null default 1,
  secret_sealed   bytea not null,
  previous_sealed bytea,
  previous_until  timestamptz,
  -- Entries up to here were there before the webhook was.
  from_seq        bigint not null,
  disabled_at     timestamptz,
  disabled_reason text,
  -- Since when no delivery has succeeded.
  failing_since   timestamptz,
  version         integer not null default 1,
  created_at      timestamptz not null default date_trunc('milliseconds', now()),
  updated_at      timestamptz not null default now()
);
create index webhook_endpoints_account on webhook_endpoints (account_id, created_at, id);

-- Up to where each account's journal was fanned out. There is a row while there is an endpoint; whoever
-- holds its lock is the one who fans out.
create table webhook_cursors (
  account_id  text primary key references accounts (id),
  seq         bigint not null
);

create table webhook_deliveries (
  id           text primary key check (id ~ '^whd_[0-9a-f]{32}$'),
  endpoint_id  text not null references webhook_endpoints (id) on delete cascade,
  account_id   text not null,
  event_seq    bigint not null,
  event_type   text not null,
  replay_of    text,
  state        text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
  -- Tries that were made.
  attempts     integer not null default 0,
  next_at      timestamptz default now(),
  created_at   timestamptz not null default date_trunc('milliseconds', now())
);
-- Exactly once, whoever fans out.
create unique index webhook_deliveries_once on webhook_deliveries (endpoint_id, event_seq) where replay_of is null;
create index webhook_deliveries_endpoint on webhook_deliveries (endpoint_id, created_at desc, id desc);
create index webhook_deliveries_due on webhook_deliveries (next_at) where state = 'pending';
create index webhook_deliveries_pending on webhook_deliveries (endpoint_id) where state = 'pending';
create index webhook_deliveries_old on webhook_deliveries (created_at);

create table webhook_attempts (
  delivery_id  text not null references webhook_deliveries (id) on delete cascade,
  number       integer not null,
  at           timestamptz not null,
  duration_ms  integer not null,
  status       integer,                       -- null: there was no answer
  obstacle     text,                          -- why not, from a closed list
  primary key (delivery_id, number)
);
