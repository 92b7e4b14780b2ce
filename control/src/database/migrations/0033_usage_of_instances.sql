-- What instances used: when each was there for its owner, and what it asked of models.

-- An instance is counted while it has an open interval; intervals of one never overlap, whatever the clock did.
create table instance_periods (
  instance_id text not null references instances (id),
  from_at     timestamptz not null,
  to_at       timestamptz,
  primary key (instance_id, from_at),
  check (to_at >= from_at)
);
create unique index instance_periods_open on instance_periods (instance_id) where to_at is null;
-- Those that were ready before there were intervals.
insert into instance_periods (instance_id, from_at, to_at)
select id, ready_at, greatest(ready_at, coalesce(terminated_at, case when status in ('terminating', 'terminated') then now() end))
from instances where ready_at is not null;

-- One row for each call of a model, never edited after its end: the ledger that costs are summed from. No prompt, no answer.
create table inference_calls (
  id            text primary key check (id ~ '^inf_[0-9a-f]{32}$'),
  account_id    text not null references accounts (id),
  instance_id   text not null references instances (id),
  operation     text not null check (operation in ('chat', 'completions', 'embeddings')),
  model         text not null,
  upstream      text not null,
  -- What it may come to cost; counted against the limit of its instance until it is over.
  held_micros   bigint not null check (held_micros >= 0),
  started_at    timestamptz not null default now(),
  ended_at      timestamptz,
  -- `answered`: the upstream said what was used. `cut`: somebody went away before, and it is what is known. `failed`: nothing came.
  outcome       text check (outcome in ('answered', 'cut', 'failed')),
  -- Null: the upstream did not say.
  input_tokens  bigint check (input_tokens >= 0),
  output_tokens bigint check (output_tokens >= 0),
  cost_micros   bigint not null default 0 check (cost_micros >= 0),
  check ((ended_at is null) = (outcome is null))
);
create index inference_calls_account on inference_calls (account_id, ended_at);
create index inference_calls_instance on inference_calls (instance_id, ended_at);
create index inference_calls_open on inference_calls (instance_id, started_at) where ended_at is null;

-- Its sum for each instance, so that a limit costs no scan.
create table inference_spend (
  instance_id  text primary key references instances (id),
  spent_micros bigint not null default 0 check (spent_micros >= 0)
);
