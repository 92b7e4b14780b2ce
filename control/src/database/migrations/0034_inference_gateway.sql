-- Tokens by which an instance asks models, and what is held of its limit while it does.

-- Set: the key is this instance's, opens the gateway of models and nothing else, and ends with it.
alter table api_keys add column instance_id text references instances (id);
create index api_keys_instance on api_keys (instance_id) where instance_id is not null;

-- What calls that are under way may come to cost. Beside what was spent, so that both are looked at and taken in one statement.
alter table inference_spend add column held_micros bigint not null default 0 check (held_micros >= 0);
create index inference_calls_left on inference_calls (started_at) where ended_at is null;
drop index inference_calls_open;
