-- Money: what was paid, what was charged, what is left, and a meter for each machine that costs something.
-- Amounts are integer micro-units of USD.

create table money_entries (
  id            bigint generated always as identity primary key,
  account_id    text not null references accounts (id),
  machine_id    text,                          -- what a charge is for; no reference: it outlives the machine
  kind          text not null check (kind in ('credit', 'charge', 'adjustment')),
  amount_micros bigint not null check (abs(amount_micros) between 1 and 1000000000000000),
  reference     text,                          -- the payer's own name of it
  from_at       timestamptz,                   -- the running time that a charge is for
  to_at         timestamptz,
  at            timestamptz not null default now(),
  check (kind <> 'credit' or amount_micros > 0),
  check ((kind = 'charge') = (from_at is not null)),
  check (kind <> 'charge' or (amount_micros < 0 and machine_id is not null and to_at > from_at))
);
-- A payment that is announced twice counts once.
create unique index money_entries_reference on money_entries (account_id, reference) where reference is not null;
create index money_entries_account on money_entries (account_id, id);
create index money_entries_machine on money_entries (machine_id, id) where machine_id is not null;

create function append_only() returns trigger language plpgsql as $$
begin
  raise exception '% is append only', tg_table_name;
end $$;
create trigger money_entries_kept before update or delete or truncate on money_entries
  for each statement execute function append_only();

-- The running sums of money_entries and of the meters in use; a test holds them equal. A table of its own
-- and not columns of accounts: the journal updates the account's row in the same statement that charges,
-- and one statement can update a row only once.
create table balances (
  account_id          text primary key references accounts (id),
  balance_micros      bigint not null default 0,
  rate_micros_per_min bigint not null default 0 check (rate_micros_per_min >= 0),
  metered_at          timestamptz not null default 'epoch',
  low_since           timestamptz,
  low_told            boolean not null default false check (low_since is not null or not low_told),
  broke_since         timestamptz,
  broke_told          boolean not null default false check (broke_since is not null or not broke_told)
) with (fillfactor = 70);
create index balances_in_use on balances (account_id) where rate_micros_per_min > 0;
create index balances_broke on balances (account_id) where broke_since is not null;

-- A table of its own and not columns of machines: metering every minute then neither rewrites nor locks the
-- machines' rows, and a machine that costs nothing (a session) pays nothing for it.
create table meters (
  machine_id          text primary key references machines (id),
  account_id          text not null references accounts (id),
  rate_micros_per_min bigint not null check (rate_micros_per_min between 0 and 1000000000000),
  state               text not null check (state in ('idle', 'admitted', 'running')),
  meter_from          timestamptz,             -- start of the running interval under way
  meter_to            timestamptz,             -- the watermark: charged up to here; it never goes back
  metered_micros      bigint not null default 0,  -- charged in this interval
  check ((state = 'running') = (meter_from is not null)),
  check (meter_from is null or meter_to >= meter_from)
) with (fillfactor = 70);
create index meters_in_use on meters (account_id) where state <> 'idle';

-- What an interval costs so far, rounded down once. div() and not /: a numeric quotient is rounded to
-- sixteen digits, which for long intervals is up to the next whole micro-unit.
create function accrued_micros(rate_micros_per_min bigint, since timestamptz, until timestamptz)
  returns bigint language sql immutable parallel safe as
  $$ select div(rate_micros_per_min * (extract(epoch from until - since) * 1000000), 60000000)::bigint $$;
