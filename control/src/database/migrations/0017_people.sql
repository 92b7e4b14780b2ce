-- People: how they come in, and how guessing at their passwords is bounded.

-- Tries that failed, by whom they were at and from where; logged, since a crash must not give new tries.
create table guesses (
  subject      text primary key,
  window_start timestamptz not null,           -- the first of those that are counted
  failed       integer not null
);
create index guesses_old on guesses (window_start);

-- A word that makes whoever has it a member, once.
create table member_invitations (
  id          uuid primary key,
  party_id    uuid not null references parties (id),
  email       text not null,                   -- whom it is meant for
  role        text not null,
  token_hash  bytea not null unique,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  expires_at  timestamptz not null,
  accepted_at timestamptz
);
create index member_invitations_party on member_invitations (party_id);

-- Bearer secrets of a party for programs that cannot ask for tokens; narrowed, and over some day.
create table service_tokens (
  id          uuid primary key,
  party_id    uuid not null references parties (id),
  name        text not null,
  prefix      text not null,
  hash        bytea not null unique,
  scopes      text[] not null,
  created_by  text not null,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  expires_at  timestamptz not null,
  revoked_at  timestamptz
);
create index service_tokens_party on service_tokens (party_id);

-- Who somebody is at a provider outside; only that provider's own name for them counts, never an e-mail address.
create table outside_identities (
  issuer      text not null,
  subject     text not null,
  user_id     uuid not null references users (id),
  created_at  timestamptz not null default now(),
  primary key (issuer, subject)
);
