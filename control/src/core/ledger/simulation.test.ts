// SPDX-License-Identifier: Apache-2.0
/**
 * Thirty days of several replicas on one database. Their own clocks are up to an hour beside the database's
 * and jump; they die before a commit, or after it and before anybody hears of it, and another repeats their
 * work; meterings, starts, ends and payments (each announced several times) happen at once. Beside the
 * database stands a reckoning of its own: when each machine ran, by whole microseconds, and what was paid.
 */
import { randomBytes, randomInt } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { afterEach, describe, expect, it, vi } from "vitest";
import { cloneDatabase } from "#testing/clone-database.ts";
import { type Database, type Db, openDatabase, refusalOf, type Tx } from "../../database/open.ts";
import { admitClauses, credit, listOverdue, meterAll, startMeterClauses, stopMeterClauses } from "./index.ts";

const SEED = Number(process.env.CASEMATE_TEST_SEED ?? randomInt(2 ** 31));
const START = Date.parse("2026-03-01T00:00:00Z");
const MINUTE = 60_000_000;
const DAY = 24 * 60 * MINUTE;
const DAYS = 30;
const REPLICAS = 3;
const ACCOUNTS = 4;
const MACHINES_MAX = 6;
/** A turn of metering and stopping that nothing disturbs comes at least this often. */
const INTERVAL = 120 * MINUTE;
const GAP_MAX = 75 * MINUTE;
const LOW_MS = 3 * 3_600_000;

interface Machine {
  id: string;
  account: Account;
  rate: number;
  state: "idle" | "admitted" | "running";
  from: number;
  lastEnd: number;
  /** What its intervals cost, each rounded down once. */
  owed: bigint;
}
interface Account {
  id: string;
  machines: Machine[];
  paid: bigint;
  charged: bigint;
  rateSincePositive: number;
}
interface World {
  replicas: Database[];
  skews: number[];
  accounts: Account[];
  random: () => number;
  /** The database's clock in µs, and the furthest it has been. */
  now: number;
  furthest: number;
  seen: number;
  counted: Record<string, number>;
}

afterEach(() => void vi.useRealTimers());

describe.each([
  { what: "that stops what is broke at once", graceMs: 0, setbacks: false },
  { what: "with a grace of ninety minutes", graceMs: 90 * 60_000, setbacks: false },
  { what: "on a database whose clock is set back", graceMs: 90 * 60_000, setbacks: true },
])(`a month $what (CASEMATE_TEST_SEED=${SEED})`, ({ graceMs, setbacks }) => {
  it("charges every machine its running time to the micro-unit and lets no balance fall below its bound", async () => {
    await using cloned = await cloneDatabase();
    const options = { connection: { ...cloned }, poolMax: 4, onError: () => {} };
    const replicas = await Promise.all(Array.from({ length: REPLICAS }, () => openDatabase(options)));
    vi.useFakeTimers({ toFake: ["Date"] });
    const random = seeded(SEED + graceMs + Number(setbacks));
    const world: World = {
      ...{ replicas, random, now: 0, furthest: 0, seen: 0, counted: {} },
      skews: replicas.map(() => 0),
      accounts: [],
    };
    try {
      for (let n = 0; n < ACCOUNTS; n++) world.accounts.push(await openAccount(world));
      let turned = 0;
      while (world.furthest < DAYS * DAY) {
        await pass(world, setbacks);
        await happen(world);
        if (world.furthest - turned >= INTERVAL - GAP_MAX) {
          await turn(world, graceMs);
          turned = world.furthest;
        }
        await check(world, setbacks ? null : graceMs);
      }
      for (const machine of machinesOf(world)) if (machine.state !== "idle") await stop(world, machine);
      await check(world, null);
      await checkWhole(world);
    } finally {
      vi.useRealTimers();
      await Promise.all(replicas.map((replica) => replica.close()));
    }
    // A month in which something never happened proves nothing about it.
    const wanted = [
      "crashed",
      "repeated",
      "admitted",
      "refused",
      "overdue",
      "metered",
      ...(setbacks ? ["setback"] : []),
    ];
    for (const what of wanted) expect(world.counted[what], what).toBeGreaterThan(10);
  }, 240_000);
});

/** Time passes in the database; the replicas' own clocks go their ways. */
async function pass(world: World, setbacks: boolean): Promise<void> {
  world.now += between(world, 1, GAP_MAX);
  if (setbacks && world.random() < 0.04) {
    world.now = Math.max(0, world.now - between(world, 1, 4 * GAP_MAX));
    count(world, "setback");
  }
  world.furthest = Math.max(world.furthest, world.now);
  for (const n of world.skews.keys()) {
    if (world.random() < 0.2) world.skews[n] = between(world, -60 * MINUTE, 60 * MINUTE);
  }
}

/** What happens in one moment: some of it at once, on machines and accounts that may be the same. */
async function happen(world: World): Promise<void> {
  const together: Promise<unknown>[] = [];
  for (const machine of machinesOf(world)) {
    const dice = world.random();
    if (machine.state === "running" && dice < 0.02) together.push(stop(world, machine));
    else if (machine.state === "admitted" && dice < 0.3) together.push(start(world, machine));
    else if (machine.state === "admitted" && dice < 0.32) together.push(stop(world, machine));
  }
  for (const account of world.accounts) {
    if (world.random() < 0.02) together.push(pay(world, account));
  }
  for (let n = 0; n < REPLICAS; n++) if (world.random() < 0.5) together.push(meter(world));
  await Promise.all(together);
  const account = pick(world, world.accounts);
  if (world.random() < 0.3) await admit(world, account);
}

/** Metering and the stops that follow from it, with nothing beside it. */
async function turn(world: World, graceMs: number): Promise<void> {
  const db = speak(world).run;
  const at = clock(world.now);
  await meterAll(db, { limit: 100, afterMs: 0, lowMs: LOW_MS, at });
  const overdue = await listOverdue(db, { graceMs, limit: 100, at });
  count(world, "overdue", overdue.length);
  for (const { machine: id } of overdue) {
    await stop(world, machinesOf(world).find((machine) => machine.id === id)!);
  }
}

async function meter(world: World): Promise<void> {
  // A statement's time is its beginning; those that began earlier may come later.
  const at = clock(Math.max(0, world.now - between(world, 0, 3_000_000)));
  const limit = between(world, 1, ACCOUNTS);
  await attempt(world, (db) => meterAll(db, { limit, afterMs: 0, lowMs: LOW_MS, at }));
  count(world, "metered");
}

async function admit(world: World, account: Account): Promise<void> {
  const idle = account.machines.filter((machine) => machine.state === "idle");
  const anew = account.machines.length < MACHINES_MAX;
  const machine = anew
    ? { ...{ id: makeId("mach"), account, rate: between(world, 1, 3_000_000) }, ...NEW }
    : pick(world, idle);
  if (machine === undefined) return;
  const at = clock(world.now);
  const ask = { account: account.id, machine: machine.id, rateMicrosPerMin: machine.rate };
  const insert = sql`insert into machines (id, account_id, spec, created_at) values (${machine.id}, ${account.id}, '{}', ${at}) on conflict do nothing returning id`;
  const refused = await reliably(world, (db) =>
    sql`with made as (${insert}), ${admitClauses(ask, sql`(select count(*) from made) >= 0`, { at })}
      select from afford`.execute(db),
  ).then(() => false, refusedByBalance);
  const up = account.machines.filter(({ state }) => state !== "idle");
  const rate = up.reduce((sum, each) => sum + each.rate, machine.rate);
  // Nothing else happens beside it: the reckoning knows to the micro-unit what there is. After a setback
  // the watermarks are somewhere between now and the furthest.
  const affordable = (until: number) => account.paid - owedBy(world, account, until) >= BigInt(5 * rate);
  expect(refused ? !affordable(world.furthest) : affordable(world.now), `refused: ${refused}`).toBe(true);
  count(world, refused ? "refused" : "admitted");
  if (refused) return;
  machine.state = "admitted";
  if (anew) account.machines.push(machine);
}

const NEW = { state: "idle" as const, from: 0, lastEnd: Number.NEGATIVE_INFINITY, owed: 0n };

async function start(world: World, machine: Machine): Promise<void> {
  await reliably(world, (db) =>
    sql`with ${named(machine)}, ${startMeterClauses({ at: clock(world.now) })} select from meter_balance`.execute(
      db,
    ),
  );
  machine.state = "running";
  // The watermark stands over a stop: after a setback, what was charged is not charged again.
  machine.from = Math.max(world.now, machine.lastEnd);
}

async function stop(world: World, machine: Machine): Promise<void> {
  const random = fork(world);
  const until = Math.max(world.now, world.now < world.furthest ? await watermark(world, machine) : 0);
  const clauses = stopMeterClauses({ at: clock(world.now) });
  await reliably(
    world,
    (db) => sql`with ${named(machine)}, ${clauses} select from meter_balance`.execute(db),
    random,
  );
  if (machine.state === "running") {
    machine.lastEnd = until;
    machine.owed += costOf(machine, until);
  }
  machine.state = "idle";
}

async function pay(world: World, account: Account): Promise<void> {
  const amount = between(world, 1, 2_000_000_000);
  const reference = `payment ${makeId("evt")}`;
  const announce = () =>
    reliably(world, (db) =>
      credit(db, {
        account: account.id,
        kind: "credit",
        amountMicros: amount,
        reference,
        at: clock(world.now),
      }),
    );
  account.paid += BigInt(amount);
  await Promise.all(Array.from({ length: between(world, 1, 3) }, announce));
}

/** Holds after every moment. */
async function check(world: World, graceMs: number | null): Promise<void> {
  const { rows } = await sql<{
    id: string;
    balance: number;
    rate: number;
    credited: number;
    charged: number;
    last: number;
  }>`
    select b.account_id as id, balance_micros as balance, rate_micros_per_min as rate,
      (select coalesce(sum(amount_micros) filter (where kind = 'credit'), 0)::bigint from money_entries e
        where e.account_id = b.account_id and e.id > ${world.seen}) as credited,
      (select coalesce(-sum(amount_micros) filter (where kind = 'charge'), 0)::bigint from money_entries e
        where e.account_id = b.account_id and e.id > ${world.seen}) as charged,
      (select coalesce(max(id), 0) from money_entries) as last
    from balances b`.execute(world.replicas[0]!.run);
  for (const row of rows) {
    const account = world.accounts.find(({ id }) => id === row.id)!;
    account.charged += BigInt(row.charged);
    expect(BigInt(row.balance), "the balance is the sum of the entries").toBe(account.paid - account.charged);
    const up = account.machines.filter(({ state }) => state !== "idle");
    expect(row.rate, "the rate is the sum of what is up").toBe(up.reduce((sum, each) => sum + each.rate, 0));
    const over = account.machines.reduce((sum, each) => sum + each.owed, 0n);
    expect(account.charged, "what is over was charged").toBeGreaterThanOrEqual(over);
    expect(account.charged, "nothing is charged that did not run").toBeLessThanOrEqual(
      owedBy(world, account, world.furthest),
    );
    account.rateSincePositive = Math.max(account.rateSincePositive, row.rate);
    if (graceMs !== null) {
      const interval = INTERVAL / MINUTE;
      const bound = graceMs === 0 ? interval : interval + graceMs / 60_000 + interval;
      expect(-row.balance, "debt").toBeLessThanOrEqual(account.rateSincePositive * bound);
    }
    if (row.balance > 0) account.rateSincePositive = row.rate;
  }
  world.seen = rows[0]?.last ?? 0;
}

/** Holds at the end, of everything at once. */
async function checkWhole(world: World): Promise<void> {
  const db = world.replicas[0]!.run;
  const { rows } = await sql<{ machine: string; charged: number }>`
    select m.id as machine, coalesce(-sum(e.amount_micros), 0)::bigint as charged
    from machines m left join money_entries e on e.machine_id = m.id group by m.id`.execute(db);
  const owed = Object.fromEntries(machinesOf(world).map((machine) => [machine.id, Number(machine.owed)]));
  const charged = Object.fromEntries(rows.map((row) => [row.machine, row.charged]));
  for (const { id } of machinesOf(world)) expect(charged[id], id).toBe(owed[id]);
  expect(rows.reduce((sum, row) => sum + row.charged, 0)).toBe(
    Number(machinesOf(world).reduce((sum, machine) => sum + machine.owed, 0n)),
  );
  const apart = await sql`
    select from money_entries one join money_entries two on one.machine_id = two.machine_id and one.id < two.id
      and one.from_at < two.to_at and two.from_at < one.to_at`.execute(db);
  expect(apart.rows, "no instant is in two charges of a machine").toEqual([]);
  const wrong = await sql`
    select from balances b where balance_micros <>
      (select coalesce(sum(amount_micros), 0) from money_entries e where e.account_id = b.account_id)`.execute(
    db,
  );
  expect(wrong.rows).toEqual([]);
}

/** A replica takes its turn to speak; what its own clock says must not matter to anybody. */
function speak(world: World, random = world.random): Database {
  const n = Math.floor(random() * REPLICAS);
  vi.setSystemTime(START + (world.now + world.skews[n]!) / 1000);
  return world.replicas[n]!;
}

type Work = (db: Db | Tx) => Promise<unknown>;

/** False when the replica died before its commit. */
async function attempt(world: World, work: Work, random = fork(world)): Promise<boolean> {
  const db = speak(world, random);
  if (random() >= 0.05) {
    await work(db.run);
    return true;
  }
  count(world, "crashed");
  const dead = db.write(async (tx) => {
    await work(tx);
    await sql`select pg_terminate_backend(pg_backend_pid())`.execute(tx);
  });
  await dead.catch((error: unknown) => {
    if (refusedByBalance(error)) throw error;
  });
  return false;
}

/** Until it is done; and when nobody heard that it was, once more. */
async function reliably(world: World, work: Work, random = fork(world)): Promise<void> {
  while (!(await attempt(world, work, random)));
  if (random() >= 0.1) return;
  count(world, "repeated");
  await work(speak(world, random).run);
}

function refusedByBalance(error: unknown): boolean {
  if (refusalOf(error) === "balance") return true;
  if (["57P01", "08006", "08003"].includes((error as { code: string }).code)) return false;
  if (/terminat|Connection/i.test(String(error))) return false;
  throw error;
}

async function openAccount(world: World): Promise<Account> {
  const id = makeId("acct");
  await sql`insert into accounts (id, email, jurisdiction, cycle_start)
    values (${id}, ${`${id}@example.com`}, 'EU', now())`.execute(world.replicas[0]!.run);
  return { id, machines: [], paid: 0n, charged: 0n, rateSincePositive: 0 };
}

async function watermark(world: World, machine: Machine): Promise<number> {
  const { rows } = await sql<{ us: number | null }>`
    select (extract(epoch from meter_to - ${clock(0)}) * 1000000)::bigint as us
    from meters where machine_id = ${machine.id}`.execute(world.replicas[0]!.run);
  const us = rows[0]!.us ?? 0;
  expect(us).toBeLessThanOrEqual(world.furthest);
  return us;
}

const named = (machine: Machine) =>
  sql`machine as (update machines set observed_generation = 1 where id = ${machine.id} returning id, account_id)`;

function clock(us: number): RawBuilder<Date> {
  const text = new Date(START + Math.floor(us / 1000)).toISOString();
  return sql<Date>`${text.replace("Z", `${String(us % 1000).padStart(3, "0")}Z`)}::timestamptz`;
}

const machinesOf = (world: World) => world.accounts.flatMap((account) => account.machines);
const costOf = ({ rate, from }: Machine, until: number): bigint =>
  until <= from ? 0n : (BigInt(rate) * BigInt(until - from)) / BigInt(MINUTE);
const owedBy = (world: World, account: Account, until = world.now): bigint =>
  account.machines.reduce(
    (sum, machine) => sum + machine.owed + (machine.state === "running" ? costOf(machine, until) : 0n),
    0n,
  );
const makeId = (prefix: string) => `${prefix}_${randomBytes(16).toString("hex")}`;
const count = ({ counted }: World, what: string, times = 1) => {
  counted[what] = (counted[what] ?? 0) + times;
};
const between = ({ random }: World, low: number, high: number) =>
  low + Math.floor(random() * (high - low + 1));
const pick = <T>(world: World, from: T[]): T => from[between(world, 0, from.length - 1)]!;

/** What goes on beside other things draws from a generator of its own, so the seed makes the same month. */
const fork = (world: World) => seeded(Math.floor(world.random() * 2 ** 32));

/** A small generator (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
