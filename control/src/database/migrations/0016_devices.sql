-- Sites, the servers at them, and the devices whose pictures the servers look at.

create table sites (
  id          uuid primary key,
  party_id    uuid not null references parties (id),
  name        text not null,
  -- Kept by a trigger on devices: counting a million of them for each page would be what a page costs.
  device_count integer not null default 0,
  version     integer not null default 1,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  updated_at  timestamptz not null default date_trunc('milliseconds', now())
);
create index sites_party on sites (party_id, name, id);

-- Words that let servers into a site without a person. Kept as SHA-256.
create table site_tokens (
  id          uuid primary key,
  site_id     uuid not null references sites (id) on delete cascade,
  hash        bytea not null unique,
  prefix      text not null,
  max_uses    integer not null,
  used        integer not null default 0,
  expires_at  timestamptz not null,
  created_by  text not null,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  revoked_at  timestamptz
);
create index site_tokens_site on site_tokens (site_id);

create table servers (
  id               uuid primary key,
  site_id          uuid not null references sites (id),
  name             text not null,
  -- What it says of itself: Version, AIPluginVersion, Runtime, AvailableRuntimes, Preprocessors, Postprocessors, Supports.
  facts            jsonb not null default '{}',
  runtime_wanted   text,
  -- Grows with everything that it is told; what it has taken over of that.
  desired_version  bigint not null default 1,
  reported_version bigint not null default 0,
  reported         jsonb not null default '{}',
  health           text not null default 'unknown' check (health in ('unknown', 'ok', 'degraded', 'failed')),
  errors           jsonb not null default '[]',
  last_seen        timestamptz,
  -- The registration token or the person that let it in.
  admitted_by      text not null,
  created_at       timestamptz not null default date_trunc('milliseconds', now()),
  updated_at       timestamptz not null default date_trunc('milliseconds', now())
);
create index servers_site on servers (site_id, name, id);

-- A server's own key, as a host's: it opens that server's state and nothing else.
alter table api_keys add column server_id uuid references servers (id) on delete cascade;
create index api_keys_server on api_keys (server_id) where server_id is not null;

-- Servers that ask to be let in and wait for a person. The site is what they say, and need not be there.
create table server_claims (
  poll_hash   bytea primary key,
  code        text not null,
  server_id   uuid not null,
  site_id     uuid not null,
  source      jsonb,
  state       text not null default 'waiting' check (state in ('waiting', 'approved', 'taken')),
  expires_at  timestamptz not null
);
create index server_claims_site on server_claims (site_id, code);
create index server_claims_old on server_claims (expires_at);

create table devices (
  id                uuid primary key,
  nx_id             uuid not null unique,
  -- The site's owner, who never changes, so that a list of all devices has an index to follow.
  party_id          uuid not null references parties (id),
  site_id           uuid not null references sites (id),
  server_id         uuid not null references servers (id),
  name              text not null,
  serial            text not null,
  type              text not null,
  tags              text[] not null,
  enabled           boolean not null default true,
  -- Whether its pictures are looked at: off until somebody says so.
  active            boolean not null default false,
  version           integer not null default 1,
  created_at        timestamptz not null default date_trunc('milliseconds', now()),
  updated_at        timestamptz not null default date_trunc('milliseconds', now())
);
create index devices_party on devices (party_id, name, id);
create index devices_site on devices (site_id, name, id);
create index devices_server on devices (server_id);
create unique index devices_serial on devices (server_id, serial) where serial <> '';

-- A device never changes its site. Sites are counted in the order of their ids, so that two statements
-- that touch several take turns.
create function count_added_devices() returns trigger language plpgsql as $$
begin
  perform from sites where id in (select site_id from changed) order by id for update;
  update sites set device_count = device_count + each.n
  from (select site_id, count(*)::int as n from changed group by site_id) each where sites.id = each.site_id;
  return null;
end $$;
create function count_removed_devices() returns trigger language plpgsql as $$
begin
  perform from sites where id in (select site_id from changed) order by id for update;
  update sites set device_count = device_count - each.n
  from (select site_id, count(*)::int as n from changed group by site_id) each where sites.id = each.site_id;
  return null;
end $$;
create trigger devices_added after insert on devices referencing new table as changed
  for each statement execute function count_added_devices();
create trigger devices_removed after delete on devices referencing old table as changed
  for each statement execute function count_removed_devices();

create table device_groups (
  id          uuid primary key,
  party_id    uuid not null references parties (id),
  name        text not null,
  created_at  timestamptz not null default date_trunc('milliseconds', now()),
  updated_at  timestamptz not null default date_trunc('milliseconds', now())
);
create index device_groups_party on device_groups (party_id, name, id);

create table device_group_members (
  group_id    uuid not null references device_groups (id) on delete cascade,
  device_id   uuid not null references devices (id) on delete cascade,
  primary key (group_id, device_id)
);
create index device_group_members_device on device_group_members (device_id);
