-- Blobs, and the registry of images on top of them.

-- What the blob store holds, whoever put it there. The rows of surfaces point here; a blob that no row
-- points at is collected (control/src/blobs/collect.ts).
create table blobs (
  digest      bytea primary key check (length(digest) = 32),
  size_bytes  bigint not null check (size_bytes >= 0),
  -- Last time that somebody brought it or pointed at it. Database time; what is young is not collected.
  touched_at  timestamptz not null default now(),
  -- Who is taking it out of the store, since touched_at: nobody may point at it any more.
  removing    text
);
create index blobs_touched on blobs (touched_at);

-- Running sum of what an account stores: its repositories' blobs and manifests, and what its uploads
-- have reserved. A test holds it equal to the rows.
create table registry_usage (
  account_id  text primary key references accounts (id),
  bytes       bigint not null default 0 check (bytes >= 0)
);

create table registry_repositories (
  id          bigint generated always as identity primary key,
  account_id  text not null references accounts (id),
  -- Whole, as clients write it: <account id>/<name>.
  name        text collate "C" not null unique,
  -- Last time that a push began.
  touched_at  timestamptz not null default now()
);
create index registry_repositories_account on registry_repositories (account_id, name);

-- Which blobs can be read through which repository. Knowing a digest opens nothing.
create table registry_blobs (
  repository_id  bigint not null references registry_repositories (id),
  digest         bytea not null references blobs (digest),
  size_bytes     bigint not null,
  touched_at     timestamptz not null default now(),
  primary key (repository_id, digest)
);
create index registry_blobs_digest on registry_blobs (digest);
create index registry_blobs_touched on registry_blobs (touched_at);

create table registry_manifests (
  repository_id  bigint not null references registry_repositories (id),
  digest         bytea not null references blobs (digest),
  size_bytes     bigint not null,
  media_type     text not null,
  -- What the list of referrers shows of it.
  subject        bytea,
  artifact_type  text,
  annotations    json,
  created_at     timestamptz not null default now(),
  primary key (repository_id, digest)
);
create index registry_manifests_digest on registry_manifests (digest);
create index registry_manifests_subject on registry_manifests (repository_id, subject, digest) where subject is not null;

-- Which blobs a manifest needs: those stay as long as it does.
create table registry_manifest_blobs (
  repository_id  bigint not null,
  manifest       bytea not null,
  blob           bytea not null,
  primary key (repository_id, manifest, blob),
  foreign key (repository_id, manifest) references registry_manifests (repository_id, digest) on delete cascade,
  foreign key (repository_id, blob) references registry_blobs (repository_id, digest)
);
create index registry_manifest_blobs_blob on registry_manifest_blobs (repository_id, blob);

create table registry_tags (
  repository_id  bigint not null,
  name           text collate "C" not null,
  manifest       bytea not null,
  updated_at     timestamptz not null default now(),
  primary key (repository_id, name),
  foreign key (repository_id, manifest) references registry_manifests (repository_id, digest) on delete cascade
);
create index registry_tags_manifest on registry_tags (repository_id, manifest);

create table registry_uploads (
  -- The blob store's name of it.
  id              text primary key,
  repository_id   bigint not null references registry_repositories (id),
  reserved_bytes  bigint not null default 0,
  -- Which request writes to it now, and until when that is believed without another word.
  held_by         text,
  held_until      timestamptz,
  expires_at      timestamptz not null
);
create index registry_uploads_expired on registry_uploads (expires_at);
create index registry_uploads_repository on registry_uploads (repository_id);
