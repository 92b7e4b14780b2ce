// SPDX-License-Identifier: Apache-2.0
/**
 * The meter of a machine that costs money, as clauses of the statements that admit, start and end it.
 *
 *     (none) ──admit──▶ admitted ──start──▶ running ──stop──▶ idle ──admit──▶ admitted …
 *                        │    ▲               │               ▲ └─────start (unasked)──▶ running
 *                        │    └─stop, but wished for anew ────┘
 *                        └──stop (it never ran)───────────────▶ idle
 *
 *  A. An interval from f to t costs floor(rate × (t − f)), and each charge is that minus what the interval
 *     was charged before. So however often it is metered, and by however many replicas, the sum is exact;
 *     it is rounded once an interval, down.
 *  B. Time is the database's (`at`). The watermark `meter_to` never goes back, not even over a stop: a
 *     statement that waited for a lock, or a clock that was set back, charges no instant twice.
 *  C. `balances.rate_micros_per_min` is the sum of the rates that are not idle. Admission adds to it and
 *     looks at the balance under one row lock; a sum over the meters would be of the statement's snapshot,
 *     in which parallel creates do not see each other.
 *  D. Locks are taken in the order quota counters, meter, balance, account, or skipped. Clauses that are
 *     not ordered by their data are ordered by `when`.
 */
import { type RawBuilder, sql } from "kysely";

/** The database's clock; another one is for tests. */
export const NOW = sql<Date>`now()`;

/** A machine is admitted when the balance covers this much of everything the account has up. */
export const ADMISSION_MS = 5 * 60_000;

export interface Admission {
  account: string;
  machine: string;
  /** Frozen the first time; a later admission of the same machine keeps the meter's own. */
  rateMicrosPerMin: number;
}

/**
 * Clauses `afford_meter` and `afford`. Without the money the statement ends itself, `refuse('balance')`;
 * a meter that is in use already is left as it is and `afford` is empty. What runs and is not charged yet
 * is reckoned with; a metering in the same moment may be reckoned with twice, never not at all.
 */
export function admitClauses(
  { account, machine, rateMicrosPerMin }: Admission,
  when: RawBuilder<unknown>,
  { at = NOW, admissionMs = ADMISSION_MS } = {},
): RawBuilder<unknown> {
  return sql`
    afford_meter as (
      insert into meters as m (machine_id, account_id, rate_micros_per_min, state)
      select ${machine}, ${account}, ${rateMicrosPerMin}::bigint, 'admitted' where ${when}
      on conflict (machine_id)
      do update set state = 'admitted' where m.state = 'idle' and m.account_id = excluded.account_id
      returning account_id, rate_micros_per_min
    ), afford as (
      insert into balances as b (account_id, rate_micros_per_min)
      select account_id, rate_micros_per_min from afford_meter
      on conflict (account_id)
      do update set rate_micros_per_min = b.rate_micros_per_min + excluded.rate_micros_per_min
      returning case when (b.balance_micros - (
          select coalesce(sum(accrued_micros(rate_micros_per_min, meter_from, greatest(${at}, meter_to)) - metered_micros), 0)
          from meters where account_id = ${account} and state = 'running'
        )) * 60000 >= b.rate_micros_per_min::numeric * ${admissionMs}::bigint
        then true else refuse('balance') end as admitted
    )`;
}

/**
 * The same for new machines of several accounts: the clause `item` has machine_id, account_id (each once)
 * and rate. `afford` has a row for each that is admitted; one that cannot be ends the statement with
 * `refuse('apart')`, for each of them to be tried by itself. Balances are locked in the order of accounts.
 */
export function admitEachClauses(
  when: RawBuilder<unknown>,
  { at = NOW, admissionMs = ADMISSION_MS } = {},
): RawBuilder<unknown> {
  return sql`
    afford_meter as (
      insert into meters (machine_id, account_id, rate_micros_per_min, state)
      select machine_id, account_id, rate, 'admitted' from item where ${when}
      returning account_id, rate_micros_per_min
    ), afford_lock as (
      select account_id from balances where account_id in (select account_id from afford_meter)
      order by account_id for update
    ), afford as (
      update balances b set rate_micros_per_min = b.rate_micros_per_min + m.rate_micros_per_min
      from afford_meter m join afford_lock l on l.account_id = m.account_id where b.account_id = m.account_id
      returning case when (b.balance_micros - (
          select coalesce(sum(accrued_micros(rate_micros_per_min, meter_from, greatest(${at}, meter_to)) - metered_micros), 0)
          from meters where meters.account_id = b.account_id and state = 'running'
        )) * 60000 >= b.rate_micros_per_min::numeric * ${admissionMs}::bigint
        then true else refuse('apart') end as admitted
    )`;
}

/**
 * Clauses up to `meter_balance`, for a statement whose clause `machine` (id) names what is running now. What
 * runs is charged, also when nobody admitted it: a host may start what was to stand.
 */
export function startMeterClauses({ when = sql`true`, at = NOW }: MeterStep = {}): RawBuilder<unknown> {
  return sql`
    meter_waiting as (
      select m.* from meters m join machine on m.machine_id = machine.id
      where m.state <> 'running' and ${when} for update of m
    ), meter_started as (
      update meters m set state = 'running', metered_micros = 0,
        meter_from = greatest(${at}, w.meter_to), meter_to = greatest(${at}, w.meter_to)
      from meter_waiting w where m.machine_id = w.machine_id
    ), meter_balance as (
      update balances b set rate_micros_per_min = b.rate_micros_per_min + s.rate
      from (
        select account_id, sum(rate_micros_per_min)::bigint as rate
        from meter_waiting where state = 'idle' group by account_id
      ) s where b.account_id = s.account_id
      returning b.account_id
    )`;
}

export interface MeterStep {
  /** Orders the locks of the statement (D). */
  when?: RawBuilder<unknown>;
  at?: RawBuilder<Date>;
}

export interface MeterStop extends MeterStep {
  /** False, by the columns of `machine`, while a new start of it is wished for: it stays admitted then. */
  released?: RawBuilder<unknown>;
  /** Until when it is known to have run, by the columns of `machine`; at most, and by default, `at`. */
  until?: RawBuilder<Date>;
}

/**
 * Clauses up to `meter_balance`, for a statement whose clause `machine` (id) names what does not run any
 * more, or never will: charges the last piece and takes the rate off the account. A repeat changes nothing.
 */
export function stopMeterClauses({
  when = sql`true`,
  released = sql`true`,
  at = NOW,
  until = at,
}: MeterStop = {}): RawBuilder<unknown> {
  const held = sql`
    select m.*, ${released} as released, ${until} as until from meters m join machine on m.machine_id = machine.id
    where (m.state = 'running' or m.state = 'admitted' and ${released}) and ${when} for update of m`;
  return sql`${pieceClauses(held, at)},
    meter_stopped as (
      update meters m set state = case when p.released then 'idle' else 'admitted' end, meter_from = null,
        metered_micros = m.metered_micros + p.micros, meter_to = p.to_at
      from meter_piece p where m.machine_id = p.machine_id
    ), meter_balance as (
      update balances b set balance_micros = b.balance_micros - s.micros,
        rate_micros_per_min = b.rate_micros_per_min - s.rate
      from (
        select account_id, sum(micros)::bigint as micros,
          coalesce(sum(rate_micros_per_min) filter (where released), 0)::bigint as rate
        from meter_piece group by account_id
      ) s where b.account_id = s.account_id
      returning b.account_id, b.balance_micros
    )`;
}

/** For `when` of what locks the account after a start or a stop, such as the journal's clauses (D). */
export const AFTER_METER = sql`(select count(*) from meter_balance) >= 0`;

/**
 * Clauses `meter_held`, `meter_piece`, `meter_entry`: what the meters that `held` selects (with `released`,
 * `until`) and locks have run since they were last charged. Locked first, because an update returns no old values before PostgreSQL 18
 * and a plain read would give those of the snapshot, which another replica may have charged since.
 */
export function pieceClauses(held: RawBuilder<unknown>, at: RawBuilder<Date>): RawBuilder<unknown> {
  return sql`
    meter_held as (${held}),
    meter_piece as (
      select machine_id, account_id, rate_micros_per_min, released, meter_to as from_at,
        case when state = 'running' then greatest(until, meter_to) else meter_to end as to_at,
        case when state = 'running'
          then accrued_micros(rate_micros_per_min, meter_from, greatest(until, meter_to)) - metered_micros
          else 0 end as micros
      from meter_held
    ), meter_entry as (
      insert into money_entries (account_id, machine_id, kind, amount_micros, from_at, to_at, at)
      select account_id, machine_id, 'charge', -micros, from_at, to_at, ${at} from meter_piece where micros > 0
    )`;
}
