-- The signed list of issuers: the key that signs it, and what was revoked.

-- Strangers pin it by its fingerprint, so there is one for good.
create table issuer_identity (
  id             integer primary key default 1 check (id = 1),
  public_key     bytea not null check (length(public_key) = 44),   -- SPKI
  private_sealed bytea not null,                                     -- vault
  created_at     timestamptz not null default now()
);

-- A proof is not believed any more for what its key or issuer certified, whenever that was.
alter table issuers add column revoked_at timestamptz;
alter table proof_keys add column revoked_at timestamptz;
create index proof_keys_revoked on proof_keys (key_id) where revoked_at is not null;
