-- What a repeat is compared with and answered with is sealed: a plain hash lets whoever copied the
-- database guess short requests, and an answer may show what a client gave. What was kept in clear is
-- forgotten. `in_effect` is set in the statement that does what must happen once.
delete from idempotency;
alter table idempotency drop column body_hash, drop column body, drop column headers,
  add column request_sealed bytea not null,
  add column answer_sealed bytea,
  add column in_effect boolean not null default false;
