-- Models: what was uploaded, what was found in it, what it was converted to, and who may see it.

create table catalogues (
  id          uuid primary key,
  party_id    uuid not null references parties (id),
  name        text not null,
  -- private: its party's own; organization: also of the parties in catalogue_guests; public: everybody's.
  visibility  text not null check (visibility in ('private', 'organization', 'public')),
  version     integer not null default 1,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  updated_at  timestamptz not null default date_trunc('milliseconds', now())
);
create index catalogues_party on catalogues (party_id, name);

create table catalogue_guests (
  catalogue_id uuid not null references catalogues (id) on delete cascade,
  party_id     uuid not null references parties (id),
  primary key (catalogue_id, party_id)
);
create index catalogue_guests_party on catalogue_guests (party_id);

create table functions (
  id            uuid primary key,
  party_id      uuid not null references parties (id),
  name          text not null,
  alias         text not null,
  documentation text not null,
  customization text not null,
  kind          text not null,
  -- As the client described them: InputDriver, InputDriverDetails, OutputDriver, OutputDriverDetails, SourceName, SourceUrl.
  described     jsonb not null,
  tags          text[] not null,
  -- What is made of every version by itself.
  targets       text[] not null,
  -- The newest; what devices get is told by aliases.
  latest        integer not null default 1,
  status        text not null default 'new' check (status in ('new', 'queued', 'processing', 'ok', 'error')),
  version       integer not null default 1,
  created_at    timestamptz not null default date_trunc('milliseconds', now()),
  updated_at    timestamptz not null default date_trunc('milliseconds', now())
);
create index functions_party on functions (party_id, updated_at);
create index functions_updated on functions (updated_at, id);

create table catalogue_functions (
  catalogue_id uuid not null references catalogues (id),
  function_id  uuid not null references functions (id) on delete cascade,
  primary key (catalogue_id, function_id)
);
create index catalogue_functions_function on catalogue_functions (function_id);

create table function_versions (
  function_id uuid not null references functions (id) on delete cascade,
  number      integer not null,
  -- The file as it was uploaded; null when it could not be read as anything, and was not kept.
  digest      bytea,
  sha256      bytea not null,
  size_bytes  bigint not null,
  format      text not null,
  notes       text not null,
  created_by  text not null,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  -- The report; null while nobody has looked yet. `repaired`: that of what a repair made of it.
  report      jsonb,
  repaired    jsonb,
  primary key (function_id, number)
);
create index function_versions_digest on function_versions (digest);

create table function_aliases (
  function_id uuid not null,
  name        text not null,
  number      integer not null,
  primary key (function_id, name),
  foreign key (function_id, number) references function_versions (function_id, number) on delete cascade
);

-- What has been made of a version, and what was given ready made. Never changed.
create table function_artifacts (
  id          uuid primary key,
  function_id uuid not null,
  number      integer not null,
  media_type  text not null,
  digest      bytea not null,
  size_bytes  bigint not null,
  key_id      text not null,
  signature   bytea not null,
  options     jsonb not null,
  deviation   jsonb,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  foreign key (function_id, number) references function_versions (function_id, number) on delete cascade
);
create index function_artifacts_function on function_artifacts (function_id, number);
create index function_artifacts_digest on function_artifacts (digest);

-- Work on a version: one look at it (target null), or one target each.
create table conversions (
  id          uuid primary key,
  function_id uuid not null,
  number      integer not null,
  target      text,
  options     jsonb not null,
  -- True: a worker outside comes for it.
  external    boolean not null default false,
  status      text not null default 'queued' check (status in ('queued', 'processing', 'ok', 'error', 'cancelled')),
  progress    real not null default 0,
  log         text not null default '',
  -- Grows with each taking; what an earlier taker says is of no account.
  attempt     integer not null default 0,
  held_by     text,
  lease_hash  bytea,
  lease_until timestamptz,
  rules       jsonb not null default '[]',
  artifact_id uuid references function_artifacts (id) on delete set null,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  started_at  timestamptz,
  finished_at timestamptz,
  foreign key (function_id, number) references function_versions (function_id, number) on delete cascade
);
create index conversions_function on conversions (function_id, number);
create index conversions_open on conversions (created_at) where status in ('queued', 'processing');

create table benchmarks (
  id          uuid primary key,
  function_id uuid not null references functions (id) on delete cascade,
  artifact_id uuid references function_artifacts (id) on delete cascade,
  -- Where and with what it was measured, and what came of it: the wire's own members.
  measured    jsonb not null,
  created_by  text not null,
  created_at  timestamptz not null default date_trunc('milliseconds', now())
);
create index benchmarks_function on benchmarks (function_id, created_at);

-- Ed25519; one signs, all that ever signed verify.
create table artifact_keys (
  key_id         text primary key,
  public_key     bytea not null,
  private_sealed bytea not null,
  created_at     timestamptz not null default date_trunc('milliseconds', now())
);
