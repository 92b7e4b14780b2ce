-- What a party's models take, and models that their owner gave up while others still run them.

alter table functions add column withdrawn_at timestamptz;
create index functions_withdrawn on functions (withdrawn_at) where withdrawn_at is not null;

-- Whose room it takes: its model may be gone when it is counted off.
alter table function_artifacts add column party_id uuid references parties (id);
update function_artifacts a set party_id = f.party_id from functions f where f.id = a.function_id;
alter table function_artifacts alter column party_id set not null;

create table model_usage (
  party_id  uuid primary key references parties (id),
  bytes     bigint not null default 0 check (bytes >= 0)
);
insert into model_usage (party_id, bytes) select party_id, sum(size_bytes) from function_artifacts group by party_id;

-- Room that uploads under way were promised, until they are over or forgotten.
create table model_uploads (
  id          uuid primary key,
  party_id    uuid not null references parties (id),
  bytes       bigint not null,
  expires_at  timestamptz not null
);
create index model_uploads_party on model_uploads (party_id);

create function count_added_artifacts() returns trigger language plpgsql as $$
begin
  insert into model_usage as u (party_id, bytes)
  select party_id, sum(size_bytes) from changed group by party_id order by party_id
  on conflict (party_id) do update set bytes = u.bytes + excluded.bytes;
  return null;
end $$;
create function count_removed_artifacts() returns trigger language plpgsql as $$
begin
  perform from model_usage where party_id in (select party_id from changed) order by party_id for update;
  update model_usage u set bytes = u.bytes - each.bytes
  from (select party_id, sum(size_bytes) as bytes from changed group by party_id) each where u.party_id = each.party_id;
  return null;
end $$;
create trigger artifacts_added after insert on function_artifacts referencing new table as changed
  for each statement execute function count_added_artifacts();
create trigger artifacts_removed after delete on function_artifacts referencing old table as changed
  for each statement execute function count_removed_artifacts();
