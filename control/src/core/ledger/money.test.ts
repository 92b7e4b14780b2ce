// SPDX-License-Identifier: Apache-2.0
/** One meter, one balance, one caller at a time or many at once; the month of many is simulation.test.ts. */
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { type RawBuilder, sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClonedDatabase, cloneDatabase } from "#testing/clone-database.ts";
import { type Database, openDatabase, refusalOf } from "../../database/open.ts";
import { appendClauses } from "../journal/index.ts";
import {
  AFTER_METER,
  admitClauses,
  balanceOf,
  burnRateOf,
  type Credit,
  credit,
  listCredits,
  listOverdue,
  meterAll,
  type Notice,
  noticeClause,
  overdueMachines,
  startMeterClauses,
  stopMeterClauses,
} from "./index.ts";

let cloned: ClonedDatabase;
let db: Database;
let other: Database;
beforeAll(async () => {
  cloned = await cloneDatabase();
  const options = { connection: { ...cloned }, poolMax: 60, onError: () => {} };
  db = await openDatabase(options);
  other = await openDatabase({ ...options, poolMax: 4 });
});
afterAll(async () => {
  await Promise.all([db.close(), other.close()]);
  await cloned[Symbol.asyncDispose]();
});

const hex = () => randomBytes(16).toString("hex");
const START = Date.parse("2026-01-01T00:00:00Z");
const MINUTE = 60_000;
/** The database's clock, so many milliseconds and micros after the start. */
const clock = (ms: number, micros = 0): RawBuilder<Date> => {
  const text = new Date(START + ms).toISOString().replace("Z", `${String(micros).padStart(3, "0")}Z`);
  return sql<Date>`${text}::timestamptz`;
};

async function opened(balanceMicros: number): Promise<string> {
  const account = `acct_${hex()}`;
  await sql`insert into accounts (id, email, jurisdiction, cycle_start)
    values (${account}, ${`${account}@example.com`}, 'EU', now())`.execute(db.run);
  if (balanceMicros > 0) await paid(account, balanceMicros);
  return account;
}

const paid = (
  account: string,
  amountMicros: number,
  reference: string | null = null,
  more: Partial<Credit> = {},
) => credit(db.run, { account, kind: "credit", amountMicros, reference, ...more });

/** A machine recorded and admitted in one statement, as a create does it; null when money refused it. */
async function admitted(account: string, rateMicrosPerMin: number, at = clock(0)): Promise<string | null> {
  const machine = `mach_${hex()}`;
  const ask = { account, machine, rateMicrosPerMin };
  try {
    await sql`
      with machine as (
        insert into machines (id, account_id, host_id, spec, created_at)
        values (${machine}, ${account}, 'mine', '{}', now()) returning id
      ), ${admitClauses(ask, sql`exists (select from machine)`, { at })}
      select from machine`.execute(db.run);
    return machine;
  } catch (error) {
    if (refusalOf(error) === "balance") return null;
    throw error;
  }
}

/** As the statements that record a report have it: an update, with its row's lock. */
const named = (machine: string) =>
  sql`machine as (update machines set observed_generation = 1 where id = ${machine} returning id, account_id)`;
const start = (machine: string, at: RawBuilder<Date>) =>
  sql`with ${named(machine)}, ${startMeterClauses({ at })} select from meter_balance`.execute(db.run);
const stop = (machine: string, at: RawBuilder<Date>) =>
  sql`with ${named(machine)}, ${stopMeterClauses({ at })} select from meter_balance`.execute(db.run);
const again = (account: string, machine: string, at: RawBuilder<Date>) =>
  sql`with ${admitClauses({ account, machine, rateMicrosPerMin: 1 }, sql`true`, { at })} select from afford`.execute(
    db.run,
  );

/** What the account has up, as admission counts it. */
const rateOf = async (account: string) =>
  (
    await sql<{ rate: number }>`
      select rate_micros_per_min as rate from balances where account_id = ${account}`.execute(db.run)
  ).rows[0]!.rate;

const turn = { limit: 1000, afterMs: 0, lowMs: 60 * MINUTE };
const chargesOf = async (machine: string) =>
  (
    await db.run
      .selectFrom("money_entries")
      .selectAll()
      .where("machine_id", "=", machine)
      .orderBy("id")
      .execute()
  ).map((row) => ({ ...row, micros: -row.amount_micros }));
const sum = (numbers: number[]) => numbers.reduce((total, each) => total + each, 0);

async function running(balanceMicros: number, rate: number) {
  const account = await opened(balanceMicros);
  const machine = (await admitted(account, rate))!;
  await start(machine, clock(0));
  return { account, machine };
}

describe("a meter", () => {
  it("charges an interval to the micro-unit, however it is cut, and however large its rate", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 1_000_000_000 }),
        fc.uniqueArray(fc.integer({ min: 1, max: 60 * 86_400_000 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: 999 }),
        async (rate, times, micros) => {
          const { account, machine } = await running(1e15, rate);
          const cuts = times.sort((a, b) => a - b);
          for (const cut of cuts.slice(0, -1)) await meterAll(db.run, { ...turn, at: clock(cut, micros) });
          await stop(machine, clock(cuts.at(-1)!, micros));
          const us = BigInt(cuts.at(-1)!) * 1000n + BigInt(micros);
          const owed = Number((BigInt(rate) * us) / 60_000_000n);
          expect(sum((await chargesOf(machine)).map((charge) => charge.micros))).toBe(owed);
          expect(await balanceOf(db.run, account)).toBe(1e15 - owed);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("does not round up to a micro-unit that was not reached by one part in sixty million", async () => {
    const [rate, us] = [999_999_999_989n, 630_909_091n];
    expect((rate * us + 1n) % 60_000_000n).toBe(0n);
    const { rows } = await sql<{ micros: number }>`
      select accrued_micros(${Number(rate)}, ${clock(0)}, ${clock(630_909, 91)}) as micros`.execute(db.run);
    expect(rows[0]!.micros).toBe(10_515_151_516_550);
  });

  it("that was stopped charges nothing more, and a stop that is reported again charges nothing twice", async () => {
    const { account, machine } = await running(10_000_000, 6000);
    await stop(machine, clock(10 * MINUTE));
    await stop(machine, clock(20 * MINUTE));
    await meterAll(db.run, { ...turn, at: clock(30 * MINUTE) });
    expect(await balanceOf(db.run, account)).toBe(10_000_000 - 60_000);
    expect(await burnRateOf(db.run, account)).toBe(0);
  });

  it("that never ran costs nothing and gives its rate back", async () => {
    const account = await opened(5 * 6000);
    const machine = (await admitted(account, 6000))!;
    expect(await admitted(account, 6000)).toBeNull();
    await stop(machine, clock(MINUTE));
    expect(await chargesOf(machine)).toEqual([]);
    expect(await admitted(account, 6000)).not.toBeNull();
  });

  it("keeps the rate it began with when its machine is started again, and the standstill is free", async () => {
    const { account, machine } = await running(10_000_000, 6000);
    await stop(machine, clock(10 * MINUTE));
    await again(account, machine, clock(100 * MINUTE));
    await start(machine, clock(100 * MINUTE));
    expect(await burnRateOf(db.run, account)).toBe(6000);
    await stop(machine, clock(101 * MINUTE));
    expect((await chargesOf(machine)).map((charge) => charge.micros)).toEqual([60_000, 6000]);
  });

  it("started twice runs from the first start", async () => {
    const { account, machine } = await running(10_000_000, 6000);
    await start(machine, clock(5 * MINUTE));
    await stop(machine, clock(10 * MINUTE));
    expect(await balanceOf(db.run, account)).toBe(10_000_000 - 60_000);
  });

  it("of a machine that is wished for anew when its end is reported stays admitted, and runs again at its cost", async () => {
    const { account, machine } = await running(10_000_000, 6000);
    await again(account, machine, clock(9 * MINUTE));
    const wished = stopMeterClauses({ released: sql`machine.id = ''`, at: clock(10 * MINUTE) });
    await sql`with ${named(machine)}, ${wished} select from meter_balance`.execute(db.run);
    expect(await balanceOf(db.run, account)).toBe(10_000_000 - 60_000);
    expect(await rateOf(account)).toBe(6000);
    await start(machine, clock(20 * MINUTE));
    await stop(machine, clock(21 * MINUTE));
    expect(await balanceOf(db.run, account)).toBe(10_000_000 - 66_000);
    expect(await rateOf(account)).toBe(0);
  });

  it("of a machine that runs without having been admitted charges it, and counts its rate", async () => {
    const { account, machine } = await running(10_000_000, 6000);
    await stop(machine, clock(0));
    await start(machine, clock(MINUTE));
    expect(await rateOf(account)).toBe(6000);
    await stop(machine, clock(3 * MINUTE));
    expect([await balanceOf(db.run, account), await rateOf(account)]).toEqual([10_000_000 - 12_000, 0]);
  });

  it("charges no instant twice when the database's clock is set back, not even over a stop", async () => {
    const { account, machine } = await running(10_000_000, 6000);
    await meterAll(db.run, { ...turn, at: clock(10 * MINUTE) });
    await meterAll(db.run, { ...turn, at: clock(4 * MINUTE) });
    await stop(machine, clock(5 * MINUTE));
    await again(account, machine, clock(6 * MINUTE));
    await start(machine, clock(6 * MINUTE));
    await stop(machine, clock(12 * MINUTE));
    expect(await balanceOf(db.run, account)).toBe(10_000_000 - 12 * 6000);
    const [first, second] = await chargesOf(machine);
    expect(second!.from_at).toEqual(first!.to_at);
  });

  it("is charged by the very statement that records its machine's end, with the journal's entry in it", async () => {
    const account = await opened(10_000_000);
    const machine = (await admitted(account, 6000, sql<Date>`now()`))!;
    await start(machine, sql<Date>`now() - interval '10 minutes'`);
    const about = { account: sql`(select account_id from machine)`, type: sql`'test.failed'` };
    await sql`
      with machine as (
        update machines set state = 'failed', ended_at = now() where id = ${machine} returning id, account_id
      ),
      ${stopMeterClauses()},
      ${appendClauses({ ...about, subject: sql`(select id from machine)`, payload: {} }, AFTER_METER)}
      select from entry`.execute(db.run);
    const [charge] = await chargesOf(machine);
    expect(charge!.micros).toBeGreaterThanOrEqual(60_000);
    expect(charge!.micros).toBeLessThan(66_000);
    expect(await balanceOf(db.run, account)).toBe(10_000_000 - charge!.micros);
    const journal = await db.run
      .selectFrom("journal")
      .select("type")
      .where("account_id", "=", account)
      .execute();
    expect(journal).toEqual([{ type: "test.failed" }]);
  });
});

describe("admission", () => {
  it("asks for five minutes of everything that is up and of the new one, to the micro-unit", async () => {
    const account = await opened(5 * (700 + 301) - 1);
    expect(await admitted(account, 700)).not.toBeNull();
    expect(await admitted(account, 301)).toBeNull();
    await paid(account, 1);
    expect(await admitted(account, 301)).not.toBeNull();
  });

  it("reckons with what ran since the last metering", async () => {
    const { account } = await running(5 * 2000 + 3000, 1000);
    expect(await admitted(account, 1000, clock(3 * MINUTE + 60))).toBeNull();
    expect(await admitted(account, 1000, clock(3 * MINUTE))).not.toBeNull();
  });

  it("of fifty at once lets in no more than the balance covers, and no fewer", async () => {
    const account = await opened(5 * 1000 * 7 + 4999);
    const all = await Promise.all(Array.from({ length: 50 }, () => admitted(account, 1000)));
    expect(all.filter((machine) => machine !== null)).toHaveLength(7);
    const machines = await db.run
      .selectFrom("machines")
      .select("id")
      .where("account_id", "=", account)
      .execute();
    expect(machines).toHaveLength(7);
  });

  it("of the same machine by two starts at once counts its rate once", async () => {
    const { account, machine } = await running(5 * 1000 * 2, 1000);
    await stop(machine, clock(0));
    await Promise.all(Array.from({ length: 10 }, () => again(account, machine, clock(0))));
    expect(await rateOf(account)).toBe(1000);
  });

  it("of another account's machine counts nothing", async () => {
    const { account, machine } = await running(10_000_000, 1000);
    await stop(machine, clock(0));
    const thief = await opened(10_000_000);
    await again(thief, machine, clock(0));
    expect(
      await sql`select from meters where machine_id = ${machine} and state = 'idle'`.execute(db.run),
    ).toMatchObject({
      rows: [{}],
    });
    expect(await burnRateOf(db.run, account)).toBe(0);
  });

  it("lets in what is free without a balance, and nothing else", async () => {
    const account = await opened(0);
    expect(await admitted(account, 1)).toBeNull();
    expect(await admitted(account, 0)).not.toBeNull();
  });
});

describe("a payment", () => {
  it("that is announced twenty times at once is credited once", async () => {
    const account = await opened(0);
    const all = await Promise.all(Array.from({ length: 20 }, () => paid(account, 5_000_000, "evt_1")));
    expect(all.filter((balance) => balance !== null)).toEqual([5_000_000]);
    expect(await balanceOf(db.run, account)).toBe(5_000_000);
    const another = await opened(0);
    expect(await paid(another, 7, "evt_1")).toBe(7);
  });

  it("is listed newest first, page by page, and a charge is not", async () => {
    const { account } = await running(1_000_000, 6000);
    await paid(account, 2, "second");
    await meterAll(db.run, { ...turn, at: clock(MINUTE) });
    await paid(account, 3, "third");
    const page = await listCredits(db.run, account, { limit: 2 });
    expect(page.map((row) => [row.amountMicros, row.reference])).toEqual([
      [3, "third"],
      [2, "second"],
    ]);
    const next = await listCredits(db.run, account, { limit: 2, before: page.at(-1)!.id });
    expect(next.map((row) => row.amountMicros)).toEqual([1_000_000]);
  });

  it("of a fraction, of nothing or taken away is refused, and an entry can be neither changed nor removed", async () => {
    const account = await opened(5);
    await expect(paid(account, 1.5)).rejects.toThrow(RangeError);
    await expect(paid(account, 0)).rejects.toThrow();
    await expect(paid(account, -1)).rejects.toThrow();
    expect(await paid(account, -2, null, { kind: "adjustment" })).toBe(3);
    await expect(sql`update money_entries set amount_micros = 9`.execute(db.run)).rejects.toThrow(
      /append only/,
    );
    await expect(sql`delete from money_entries`.execute(db.run)).rejects.toThrow(/append only/);
    await expect(sql`truncate money_entries`.execute(db.run)).rejects.toThrow(/append only/);
  });
});

describe("an account that runs short", () => {
  const noticesOf = async (account: string, atMs: number) =>
    (await meterAll(db.run, { ...turn, at: clock(atMs) })).notices
      .filter((notice) => notice.account === account)
      .map(({ kind }) => kind);
  const tell = async (account: string, kind: Notice["kind"]) =>
    (await sql`with ${noticeClause({ account, kind })} select from notice`.execute(db.run)).rows.length;

  it("is named until somebody told it, once for each crossing", async () => {
    const { account } = await running(70 * 1000, 1000);
    expect(await noticesOf(account, 10 * MINUTE)).toEqual([]);
    expect(await noticesOf(account, 10 * MINUTE + 60)).toEqual(["low"]);
    // The replica that was given it died; the next one is given it too, and only one of them tells.
    expect(await noticesOf(account, 11 * MINUTE)).toEqual(["low"]);
    const told = await Promise.all(Array.from({ length: 5 }, () => tell(account, "low")));
    expect(sum(told)).toBe(1);
    expect(await noticesOf(account, 12 * MINUTE)).toEqual([]);
    await paid(account, 60 * 1000);
    expect(await noticesOf(account, 13 * MINUTE)).toEqual([]);
    expect(await noticesOf(account, 71 * MINUTE)).toEqual(["low"]);
    expect(await tell(account, "low")).toBe(1);
  });

  it("is warned again after a payment that is not enough", async () => {
    const { account } = await running(30 * 1000, 1000);
    expect(await noticesOf(account, MINUTE)).toEqual(["low"]);
    await tell(account, "low");
    await paid(account, 1);
    const { rows } =
      await sql`select low_since, low_told from balances where account_id = ${account}`.execute(db.run);
    expect(rows).toEqual([{ low_since: null, low_told: false }]);
    expect(await noticesOf(account, 2 * MINUTE)).toEqual(["low"]);
  });

  it("is short no more once it runs less, and is warned anew when it is again", async () => {
    const { account, machine } = await running(100 * 1000, 1000);
    const second = (await admitted(account, 1000))!;
    expect(await noticesOf(account, MINUTE)).toEqual(["low"]);
    await tell(account, "low");
    await stop(second, clock(2 * MINUTE));
    expect(await noticesOf(account, 3 * MINUTE)).toEqual([]);
    expect(await noticesOf(account, 50 * MINUTE)).toEqual(["low"]);
    await stop(machine, clock(50 * MINUTE));
  });

  it("has its machines named for a stop after the grace, and not once it has paid", async () => {
    const { account, machine } = await running(10 * 1000, 1000);
    const waiting = (await admitted(account, 500))!;
    const overdue = async (atMs: number) =>
      (await listOverdue(db.run, { limit: 1000, graceMs: 5 * MINUTE, at: clock(atMs) }))
        .filter((each) => each.account === account)
        .map((each) => each.machine)
        .sort();
    await noticesOf(account, 9 * MINUTE);
    expect(await tell(account, "broke")).toBe(0);
    expect(await noticesOf(account, 10 * MINUTE)).toEqual(["low", "broke"]);
    expect(await tell(account, "broke")).toBe(1);
    expect(await overdue(15 * MINUTE - 1)).toEqual([]);
    expect(await overdue(15 * MINUTE)).toEqual([machine, waiting].sort());
    // Still in debt: the grace does not begin anew with every small payment.
    await meterAll(db.run, { ...turn, at: clock(15 * MINUTE) });
    await paid(account, 1);
    expect(await overdue(15 * MINUTE)).toHaveLength(2);
    await paid(account, 6000);
    expect(await overdue(15 * MINUTE)).toEqual([]);
    // A stop that was decided before the payment asks again, and finds nothing.
    const { rows } = await sql`
      select from machines where id in (select machine_id from (${overdueMachines({ graceMs: 0, at: clock(20 * MINUTE) })}) o)
        and account_id = ${account}`.execute(db.run);
    expect(rows).toEqual([]);
  });
});

describe("metering by several replicas", () => {
  it("is not held up by one that holds an account, and leaves that account for later", async () => {
    const held = await running(10_000_000, 6000);
    const free = await running(10_000_000, 6000);
    await other.write(async (tx) => {
      await sql`select from balances where account_id = ${held.account} for update`.execute(tx);
      await sql`set local statement_timeout = 2000`.execute(tx);
      await meterAll(db.run, { ...turn, at: clock(MINUTE) });
      expect(await balanceOf(db.run, free.account)).toBe(10_000_000 - 6000);
      expect(await balanceOf(db.run, held.account)).toBe(10_000_000);
    });
    await meterAll(db.run, { ...turn, at: clock(2 * MINUTE) });
    expect(await balanceOf(db.run, held.account)).toBe(10_000_000 - 12_000);
  });

  it("is not held up by one that is ending a machine, and its end charges the rest", async () => {
    const { account, machine } = await running(10_000_000, 6000);
    const second = (await admitted(account, 3000))!;
    await start(second, clock(0));
    await other.write(async (tx) => {
      await sql`select from meters where machine_id = ${machine} for update`.execute(tx);
      await meterAll(db.run, { ...turn, at: clock(MINUTE) });
      expect(await balanceOf(db.run, account)).toBe(10_000_000 - 3000);
    });
    await stop(machine, clock(2 * MINUTE));
    expect(await balanceOf(db.run, account)).toBe(10_000_000 - 3000 - 12_000);
  });

  it("at the same moment makes the entries of one, batch by batch, until every account had its turn", async () => {
    const all = await Promise.all(Array.from({ length: 12 }, () => running(10_000_000, 6000)));
    const round = async (handle: Database) => {
      for (;;) {
        const { accounts } = await meterAll(handle.run, {
          ...turn,
          limit: 5,
          afterMs: MINUTE,
          at: clock(9000 * MINUTE),
        });
        if (accounts < 5) return;
      }
    };
    await Promise.all([round(db), round(other), round(db)]);
    await round(db);
    for (const { account, machine } of all) {
      expect(await chargesOf(machine)).toHaveLength(1);
      expect(await balanceOf(db.run, account)).toBe(10_000_000 - 9000 * 6000);
    }
  });

  it("and by ends and admissions at once neither deadlocks nor loses a micro-unit", async () => {
    const accounts = await Promise.all(Array.from({ length: 3 }, () => opened(1e12)));
    const machines = await Promise.all(
      Array.from({ length: 24 }, async (_, n) => (await admitted(accounts[n % 3]!, 777 + n))!),
    );
    await Promise.all(machines.map((machine) => start(machine, clock(0))));
    let done = false;
    const meter = async (handle: Database) => {
      for (let n = 0; !done; n++) await meterAll(handle.run, { ...turn, limit: 2, at: clock(n % 60_000) });
    };
    const meters = [meter(db), meter(db), meter(other), meter(other)];
    await Promise.all(
      machines.map(async (machine, n) => {
        for (let round = 1; round <= 5; round++) {
          await stop(machine, clock(round * MINUTE));
          await again(accounts[n % 3]!, machine, clock(round * MINUTE));
          await start(machine, clock(round * MINUTE));
        }
        await stop(machine, clock(6 * MINUTE));
      }),
    ).finally(() => {
      done = true;
    });
    await Promise.all(meters);
    for (const [n, machine] of machines.entries()) {
      expect(sum((await chargesOf(machine)).map((charge) => charge.micros)), machine).toBe((777 + n) * 6);
    }
    const { rows } = await sql`
      select account_id from balances b where account_id = any(${accounts}) and (rate_micros_per_min <> 0
        or balance_micros <> (select sum(amount_micros) from money_entries e where e.account_id = b.account_id))`.execute(
      db.run,
    );
    expect(rows).toEqual([]);
  });
});
