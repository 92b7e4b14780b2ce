-- What runs and is not charged yet is summed at each admission; what is merely admitted need not be read for that.
create index meters_running on meters (account_id) where state = 'running';

-- Hosts as members: who was let in, who takes nothing new, who was put out.
alter table hosts
  add column name         text not null default '',
  -- The public half of the nkey with which it enters the broker; null: it is met at the socket.
  add column public_key   text unique,
  add column draining_at  timestamptz,
  -- What it has is to be taken to other hosts.
  add column emptying     boolean not null default false,
  add column revoked_at   timestamptz,
  -- What it said of itself over HTTP.
  add column registered   jsonb,
  -- Up to here the host has vouched for what runs on it; what runs is charged up to here and no further.
  add column heard_at     timestamptz not null default now();

-- A word that lets one host in, once. Kept as SHA-256, like every key.
create table host_invitations (
  id          text primary key,
  hash        bytea not null unique,
  name        text not null default '',
  created_at  timestamptz not null default now(),
  expires_at  timestamptz not null,
  used_at     timestamptz,
  host_id     text references hosts (id)
);

-- A host's own key, for what it says over HTTP.
alter table api_keys add column host_id text references hosts (id);
create index api_keys_host on api_keys (host_id) where host_id is not null;

-- What waits for a place: its host was put out.
create index machines_unplaced on machines (id) where host_id is null and state = 'requested';
