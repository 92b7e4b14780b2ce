-- What a repeat is compared with and answered with is sealed: a plain hash lets whoever copied the
-- database guess short requests, and an answer may show what a client gave. What was kept in clear is
-- forgotten. `in_effect` is set in the statement that does what must happen once.
delete from idempotency;
alter table idempotency drop column body_hash, drop column body, drop column headers,
  add column request_sealed bytea not null,
  add column answer_sealed bytea,
  add column in_effect boolean not null default false;

-- Hosts that a machine was taken off and that have not said that nothing is left of it there. They are told
-- until they do, by whichever replica they are connected to.
create table machine_leavings (
  machine_id   text not null references machines (id),
  host_id      text not null,
  generation   integer not null,
  incarnation  integer not null,
  primary key (machine_id, host_id)
);
create index machine_leavings_host on machine_leavings (host_id);
