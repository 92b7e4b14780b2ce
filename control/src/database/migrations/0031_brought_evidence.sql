-- What an account keeps of evidence that it brought. A counter beside the rows, taken in the statement that needs it.
create table attestation_room (
  account_id text primary key references accounts (id),
  brought integer not null check (brought >= 0),
  brought_bytes bigint not null check (brought_bytes >= 0)
);

-- What a row took of it.
alter table attestations add column room_bytes integer not null default 0;
update attestations set room_bytes = octet_length(evidence) + octet_length(beside::text) + coalesce(octet_length(policy::text), 0)
  where purpose = 'brought';
insert into attestation_room (account_id, brought, brought_bytes)
  select account_id, count(*), sum(room_bytes) from attestations where purpose = 'brought' group by account_id;
