-- Proofs of control over names, zones that somebody else serves, and domains that customers bring.

-- Texts that hosts asked for, below `_acme-challenge`. Every replica's name server answers them until their end.
create table dns_challenges (
  name        text not null,
  value       text not null,
  machine_id  text not null references machines (id) on delete cascade,
  host_id     text not null,
  ends_at     timestamptz not null,
  primary key (name, value)
);
create index dns_challenges_ends on dns_challenges (ends_at);
create index dns_challenges_host on dns_challenges (host_id);

-- What was, or may have been, written into a zone that another server serves: an update may be carried
-- out though its answer was lost, so a name is here before it is sent, and until it is gone there.
create table zone_records (
  name           text primary key,
  -- Where the name leads, as the host said it; the empty string: nowhere, it is to go.
  target         text not null,
  settled        boolean not null default false,
  -- One replica at a time; a refused one waits until then.
  claimed_until  timestamptz not null default '-infinity'
);
create index zone_records_unsettled on zone_records (claimed_until) where not settled;

alter table workloads
  add column custom_domain text,
  -- The last time its owner's proof was looked for and an answer came.
  add column custom_checked_at timestamptz,
  -- Since when the proof is not there; null while it is.
  add column custom_unowned_since timestamptz,
  -- False: its owner's time to mend the proof is over, and the name leads nowhere and may be another's.
  add column custom_routed boolean not null default true;
create unique index workloads_custom_domain on workloads (custom_domain)
  where deleted_at is null and custom_routed;
create index workloads_custom_checked on workloads (custom_checked_at)
  where deleted_at is null and custom_domain is not null;
