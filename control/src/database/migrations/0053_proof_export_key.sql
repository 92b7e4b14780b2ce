-- The key that signs exports of proofs in other formats: the session's own signed once and is gone.
create table proof_export_key (
  id             integer primary key default 1 check (id = 1),
  public_key     bytea not null check (length(public_key) = 44),   -- SPKI
  private_sealed bytea not null,                                     -- vault
  created_at     timestamptz not null default now()
);
