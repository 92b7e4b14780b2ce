-- The transparency log over proof_leaves: who signs it, what is kept of its tree, and what was signed.

create table log_keys (
  key_id         text primary key check (key_id ~ '^[0-9a-f]{8}$'),
  origin         text not null,
  public_key     bytea not null check (length(public_key) = 32),
  private_sealed bytea not null,               -- vault
  created_at     timestamptz not null default now(),
  -- No checkpoint is signed with it any more; those it signed stay good.
  retired_at     timestamptz
);

-- One at a time signs, whoever adds another at the same time.
create unique index log_keys_active on log_keys ((true)) where retired_at is null;

-- Roots over 256^level leaves each. Those of level 0 are the leaves' own hashes.
create table log_nodes (
  level    smallint not null check (level between 1 and 5),
  position bigint not null,
  hash     bytea not null check (length(hash) = 32),
  primary key (level, position)
);

-- Whoever signs holds this row's lock: one writer, however many replicas.
create table log_head (
  id       integer primary key default 1 check (id = 1),
  origin   text,                                -- given at the first start; another one is another log
  size     bigint not null default 0,
  frontier bytea not null default ''            -- roots of the complete subtrees of `size` leaves, largest first
);
insert into log_head default values;

create table log_checkpoints (
  origin     text not null,
  size       bigint not null,
  root       bytea not null check (length(root) = 32),
  note       text not null,
  signed_at  timestamptz not null default now(),
  primary key (origin, size)                    -- no second tree of a size is ever signed under a name
);

-- What strangers hold roots of is not changed, whoever holds the database's password by mistake.
create function log_only_grows() returns trigger language plpgsql as $$
begin
  raise exception 'the transparency log only grows';
end $$;
create trigger proof_leaves_stay before update or delete or truncate on proof_leaves
  for each statement execute function log_only_grows();
create trigger log_nodes_stay before update or delete or truncate on log_nodes
  for each statement execute function log_only_grows();
create trigger log_checkpoints_stay before update or delete or truncate on log_checkpoints
  for each statement execute function log_only_grows();
