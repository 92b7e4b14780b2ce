// SPDX-License-Identifier: Apache-2.0
/**
 * What proofs cost: verifying one at each level over the cryptography that no verifier can leave out, an
 * entry of the log over a bare row in the same database, and showing an entry in a log as it grows.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { findInclusion, LogWriter, outsideFile } from "#control/src/core/log/index.ts";
import { addLeaves } from "#control/src/core/log/leaves.ts";
import { openKeyRing, openVault } from "#control/src/core/vault/index.ts";
import { type Database, openDatabase } from "#control/src/database/open.ts";
import { openControl } from "./control.ts";
import type { Line } from "./sessions.ts";
import { benchLevels, median } from "./verify.ts";

const machineAt = (at: number) => `mach_${at.toString(16).padStart(32, "0")}`;

/** Rows of a kind in one round; rounds of the two kinds alternate. */
const ROWS = 200;

export async function benchProofs(options: { quick: boolean; onLine(line: Line): void }): Promise<Line[]> {
  const lines: Line[] = [];
  const say = (line: Omit<Line, "ok">) => {
    const ok = line.sense === "least" ? line.ratio >= line.goal : line.ratio <= line.goal;
    lines.push({ ...line, ok });
    options.onLine(lines.at(-1)!);
  };
  for (const { level, goal, ratio, floorUs, verifierUs } of await benchLevels())
    say({
      ...{ name: `verify at level ${level}: bare cryptography over it`, ratio, goal, sense: "least" },
      detail: `${verifierUs.toFixed(0)} µs, bare ${floorUs.toFixed(0)} µs`,
    });
  const folder = mkdtempSync(join(tmpdir(), "casemate-bench-log-"));
  try {
    // Its own control signs nothing meanwhile: what is measured is told when.
    const idle = { transparency: { everyMs: 86_400_000, entries: 1_000_000_000 } };
    await using control = await openControl(idle);
    const db = await openDatabase({ connection: control.connection, poolMax: 4, onError: () => {} });
    control.undo.push(() => db.close());
    const vault = openVault(db.run, await openKeyRing(join(control.config.folder, "kek")));
    const deps = { db, vault, outside: outsideFile(join(folder, "outside")), clock: () => 0 };
    const writer = new LogWriter(deps, { origin: null, everyMs: 10, entries: 1 });
    say(await appended(db, writer, options.quick ? 5 : 15));
    for (const line of await shown(db, writer, options.quick ? [1e3, 1e4, 1e5] : [1e3, 1e5, 1e6])) say(line);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return lines;
}

/** One entry in a statement, as the end of a session writes it, and a checkpoint over each round; against a row of the same bytes. */
async function appended(db: Database, writer: LogWriter, rounds: number): Promise<Omit<Line, "ok">> {
  await sql`create table bench_bare (position bigint primary key, machine_id text, entry bytea, leaf_hash bytea)`.execute(
    db.run,
  );
  await sql`
    insert into machines (id, host_id, spec, surface, created_at)
    select 'mach_' || lpad(to_hex(n), 32, '0'), 'mine', '{}', 'instances', now() from generate_series(0, ${rounds * ROWS}) n`.execute(
    db.run,
  );
  const [entry, leaf] = [Buffer.alloc(400, 7), Buffer.alloc(32, 7)];
  const bare = (at: number) =>
    sql`insert into bench_bare values (${at}, ${machineAt(at)}, ${entry}, ${leaf})`.execute(db.run);
  const logged = (at: number) =>
    sql`
      with place as (update proof_log set size = size + 1 returning size - 1 as position)
      insert into proof_leaves (position, machine_id, entry, leaf_hash)
      select position, ${machineAt(at)}, ${entry}, ${leaf} from place`.execute(db.run);
  const [bareMs, loggedMs]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    bareMs.push(await msOf(() => inTurn(round, bare)));
    loggedMs.push(
      await msOf(async () => {
        await inTurn(round, logged);
        await writer.sign();
      }),
    );
  }
  const rate = (ms: number[]) => (ROWS / median(ms)) * 1000;
  return {
    name: "entries of the log per second over bare rows",
    ...{ ratio: rate(loggedMs) / rate(bareMs), goal: 0.5, sense: "least" },
    detail: `${rate(loggedMs).toFixed(0)}/s, bare ${rate(bareMs).toFixed(0)}/s, a checkpoint for each ${ROWS}`,
  };
}

async function inTurn(round: number, one: (at: number) => Promise<unknown>): Promise<void> {
  for (let at = round * ROWS; at < (round + 1) * ROWS; at++) await one(at);
}

/** Each size over the one before, and over what the logarithms of the two are apart. */
async function shown(db: Database, writer: LogWriter, sizes: number[]): Promise<Omit<Line, "ok">[]> {
  const lines: Omit<Line, "ok">[] = [];
  let before: { size: number; us: number } | null = null;
  for (const size of sizes) {
    const { rows } = await sql<{ size: number }>`select size from proof_log`.execute(db.run);
    for (let at = rows[0]!.size; at < size; at += 100_000) await addLeaves(db, Math.min(100_000, size - at));
    while ((await writer.sign()) !== null);
    await sql`analyze proof_leaves, log_nodes`.execute(db.run);
    const us = await inclusionUs(db, Math.max(size, rows[0]!.size));
    if (before !== null) {
      const apart = Math.log2(size) / Math.log2(before.size);
      lines.push({
        name: `an entry shown in ${size} over one in ${before.size}, by logarithm`,
        ...{ ratio: us / before.us / apart, goal: 1.5, sense: "most" },
        detail: `${us.toFixed(0)} µs and ${before.us.toFixed(0)} µs`,
      });
    }
    before = { size, us };
  }
  return lines;
}

async function inclusionUs(db: Database, size: number): Promise<number> {
  const { rows } = await sql<{ machine_id: string }>`
    select machine_id from proof_leaves where position in (
      select (n * ${size / 200})::bigint from generate_series(0, 199) n)`.execute(db.run);
  const times: number[] = [];
  for (const turn of [0, 1])
    for (const { machine_id } of rows) {
      const ms = await msOf(() => findInclusion(db.soft, { machine: machine_id }, {}));
      if (turn === 1) times.push(ms * 1000);
    }
  return median(times);
}

async function msOf(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
