-- What evidence may rest on no more: hashes of certificates and of their keys, reference values, images, launches. Hex.
create table revoked_references (
  value text primary key check (value ~ '^([0-9a-f]{2}){20,64}$'),
  reason text not null,
  revoked_at timestamptz not null default now()
);

-- All of that kind that a verdict rests on.
alter table attestations add column rests_on text[] not null default '{}';
create index attestations_rests_on on attestations using gin (rests_on) where accepted;
