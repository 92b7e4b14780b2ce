-- Who signs in, for whom they may act, and what the authorization server remembers.

-- Whoever owns models and devices: a person, an organization, or a partner that serves organizations.
-- Each has an account, so that journal, events and idempotency hold for it as for any other.
create table parties (
  id          uuid primary key,
  kind        text not null check (kind in ('user', 'organization', 'channel_partner')),
  account_id  text not null unique references accounts (id),
  name        text not null,
  -- Of an organization: the partner that serves it, if any. What that partner may do is in partner_access.
  partner_id  uuid references parties (id),
  version     integer not null default 1,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  updated_at  timestamptz not null default date_trunc('milliseconds', now()),
  deleted_at  timestamptz
);
create index parties_partner on parties (partner_id) where partner_id is not null;

create table users (
  id                  uuid primary key references parties (id),
  email               text,                    -- null: the user was deleted, and the mailbox is free again
  password_hash       text,                    -- argon2id; null: signs in elsewhere only
  -- Tokens that say another instant were given before the password was changed, and count no more.
  password_changed_at timestamptz not null default date_trunc('second', now())
);
create unique index users_email on users (lower(email));

create table members (
  party_id    uuid not null references parties (id),
  user_id     uuid not null references users (id),
  role        text not null,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  primary key (party_id, user_id)
);
create index members_user on members (user_id);

-- What an organization lets a partner do in its name.
create table partner_access (
  organization_id uuid not null references parties (id),
  partner_id      uuid not null references parties (id),
  level           text not null check (level in
    ('organization_administrator', 'system_health_monitor', 'subscription_service_manager')),
  created_at      timestamptz not null default date_trunc('milliseconds', now()),
  primary key (organization_id, partner_id)
);
create index partner_access_partner on partner_access (partner_id);

create table oauth_clients (
  client_id    text primary key,
  party_id     uuid references parties (id),   -- acts for it by itself; null: only brings people to us
  secret_hash  bytea,                          -- SHA-256; null: a public client
  metadata     jsonb not null,
  created_at   timestamptz not null default date_trunc('milliseconds', now()),
  revoked_at   timestamptz
);
create index oauth_clients_party on oauth_clients (party_id);

-- What the authorization server keeps between requests. Named by the SHA-256 of what the client holds, and
-- sealed: a thief of the table has no code, no refresh token and no session.
create table oauth_records (
  model       text not null,
  id_hash     bytea not null,
  sealed      bytea not null,
  grant_id    text,
  user_id     uuid,
  uid_hash    bytea,
  code_hash   bytea,
  consumed_at timestamptz,
  expires_at  timestamptz,
  primary key (model, id_hash)
);
create index oauth_records_grant on oauth_records (grant_id) where grant_id is not null;
create index oauth_records_user on oauth_records (user_id) where user_id is not null;
create index oauth_records_uid on oauth_records (uid_hash) where uid_hash is not null;
create index oauth_records_code on oauth_records (code_hash) where code_hash is not null;
create index oauth_records_old on oauth_records (expires_at);

-- One row for each time that somebody signed in (sid of tokens). While it stands, its tokens count.
create table sign_ins (
  sid         text primary key,
  user_id     uuid not null references users (id),
  client_id   text not null,
  created_at  timestamptz not null default now(),
  expires_at  timestamptz not null
);
create index sign_ins_user on sign_ins (user_id);
create index sign_ins_old on sign_ins (expires_at);

-- Single access tokens that were revoked before their time.
create table revoked_tokens (
  jti         text primary key,
  expires_at  timestamptz not null
);
create index revoked_tokens_old on revoked_tokens (expires_at);

-- RS256. A key is published before it signs, and stays published as long as something it signed may count.
create table oauth_keys (
  kid         text primary key,
  public_jwk  jsonb not null,
  private_sealed bytea not null,
  signs_from  timestamptz not null,
  created_at  timestamptz not null default now(),
  retired_at  timestamptz                      -- it was followed by another; null: it was not
);
-- The one secret of each name that all replicas share.
create table oauth_secrets (
  name        text primary key,
  sealed      bytea not null
);
