-- The foundation: who (accounts, keys), what it may use (quotas, ledger), what happened (journal),
-- what is (machines, sessions) and how it ended (proofs). Forward only.

create table accounts (
  id            text primary key check (id ~ '^acct_[0-9a-f]{32}$'),
  email         text not null unique,          -- normalised: trimmed, domain in lower case
  jurisdiction  text not null,
  tier          text not null default 'free',
  cycle_start   timestamptz not null,
  created_at    timestamptz not null default now(),
  -- The journal's head. Both move only under this row's lock, so sequence order is commit order.
  journal_seq   bigint not null default 0,
  journal_head  bytea  not null default '\x0000000000000000000000000000000000000000000000000000000000000000'
);
-- One mailbox, one account, however its local part is capitalised.
create unique index accounts_email_folded on accounts (lower(email));

create table api_keys (
  id          text primary key check (id ~ '^key_[0-9a-f]{32}$'),
  account_id  text references accounts (id),   -- null: the operator's own key
  surface     text not null,
  prefix      text not null,                   -- first characters, shown in listings
  hash        bytea not null unique,           -- SHA-256 of the whole key; keys are random, no slow hash
  scopes      text[] not null,
  created_at  timestamptz not null default now(),
  expires_at  timestamptz,
  revoked_at  timestamptz
);
create index api_keys_account on api_keys (account_id);

-- Requests per window. Unlogged and written with asynchronous commit: after a crash of the database
-- a window starts again, which costs at most one window of leniency.
create unlogged table rate_windows (
  subject  text not null,
  window_start timestamptz not null,
  used     integer not null,
  primary key (subject, window_start)
);
create index rate_windows_old on rate_windows (window_start);

-- Quota counters are the running sums of ledger_entries; a test holds them equal.
create table quota_counters (
  account_id  text not null references accounts (id),
  quota       text not null,                   -- 'sessions' (held now) or 'cdps' (made in a cycle)
  period      timestamptz not null,            -- cycle start; 'epoch' for what is held
  used        integer not null check (used >= 0),
  primary key (account_id, quota, period)
);

create table ledger_entries (
  id          bigint generated always as identity primary key,
  account_id  text not null references accounts (id),
  machine_id  text not null,
  quota       text not null,
  period      timestamptz not null,
  reason      text not null,                   -- reserved, settled, released
  quantity    integer not null,                -- settled keeps what reserved took: 0
  at          timestamptz not null default now(),
  unique (machine_id, quota, reason)           -- exactly once, whoever repeats the report
);
create index ledger_entries_account on ledger_entries (account_id, quota, period);

create table machines (
  id                  text primary key check (id ~ '^mach_[0-9a-f]{32}$'),
  account_id          text not null references accounts (id),
  host_id             text,
  spec                jsonb not null,
  -- Desired, written by control's verbs.
  want                text not null default 'up' check (want in ('up', 'down')),
  generation          integer not null default 1,
  end_trigger         text,
  expires_at          timestamptz,
  -- Observed, written only by observe.ts through the transition table.
  state               text not null default 'requested',
  observed_generation integer not null default 0,
  fault               jsonb,
  created_at          timestamptz not null,
  started_at          timestamptz,
  ended_at            timestamptz
);
create index machines_unsettled on machines (id) where state <> 'ended' and observed_generation < generation;
create index machines_expiring on machines (expires_at) where want = 'up';
create index machines_live on machines (host_id) where state <> 'ended';

create table sessions (
  id                   text primary key check (id ~ '^sess_[0-9a-f]{32}$'),
  account_id           text not null references accounts (id),
  machine_id           text not null unique references machines (id),
  data_classification  text not null,
  jurisdiction         text not null,
  ttl_seconds          integer,
  status               text not null default 'active',
  -- Which control process runs a command in it now; null when none does.
  executing_by         text,
  created_at           timestamptz not null,
  ended_at             timestamptz,
  version              integer not null default 1
);
create index sessions_account on sessions (account_id, created_at desc, id desc);
create index sessions_executing on sessions (executing_by) where executing_by is not null;

-- One proof per machine, as the bytes that were signed.
create table proofs (
  machine_id  text primary key references machines (id),
  subject_id  text not null unique,            -- the session
  account_id  text not null references accounts (id),
  document    bytea not null,
  salt_sealed bytea not null,                  -- vault, for the owner only
  outcome     text not null,
  key_id      text not null unique,
  created_at  timestamptz not null default now()
);

create table proof_keys (
  key_id       text primary key,
  public_key   text not null,
  certificate  jsonb not null,
  created_at   timestamptz not null
);

create table issuers (
  issuer_id   text primary key,
  public_key  text not null,
  first_seen  timestamptz not null default now()
);

-- Leaves of the transparency log to come: append only, gap free, in order of commit.
create table proof_leaves (
  position   bigint primary key,
  machine_id text not null unique references machines (id),
  entry      bytea not null,
  leaf_hash  bytea not null
);
create table proof_log (
  id        integer primary key default 1 check (id = 1),
  size      bigint not null default 0
);
insert into proof_log default values;

create table journal (
  account_id   text not null references accounts (id),
  seq          bigint not null,
  at           timestamptz not null default now(),
  type         text not null,
  subject      text not null,
  -- Erasable: the chain runs over payload_hash, so a payload can be nulled without breaking it.
  payload      json,                            -- kept to the letter: the hash runs over its text
  salt         bytea,
  payload_hash bytea not null,
  head         bytea not null,
  primary key (account_id, seq)
);
create index journal_subject on journal (subject, seq);

-- Pruned prefixes: the chain of what is left starts at a head that was signed.
create table journal_keys (
  id             integer generated always as identity primary key,
  public_key     bytea not null,               -- Ed25519, SPKI DER
  private_sealed bytea not null,               -- vault
  created_at     timestamptz not null default now()
);
create table journal_checkpoints (
  account_id  text not null references accounts (id),
  seq         bigint not null,
  head        bytea not null,
  key_id      integer not null references journal_keys (id),
  signature   bytea not null,
  at          timestamptz not null default now(),
  primary key (account_id, seq)
);

create table idempotency (
  account_id  text not null,
  route       text not null,
  key         text not null,
  body_hash   bytea not null,
  status      integer,                          -- null while the first attempt runs
  body        text,
  headers     jsonb,
  held_until  timestamptz not null,
  expires_at  timestamptz not null,
  primary key (account_id, route, key)
);
create index idempotency_expired on idempotency (expires_at);

create table vault_data_keys (
  id         integer generated always as identity primary key,
  kek_id     text not null,
  wrapped    bytea not null,
  created_at timestamptz not null default now()
);

create table payment_events (
  id       text primary key,
  type     text not null,
  at       timestamptz not null default now()
);
