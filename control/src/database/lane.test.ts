// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kysely, PostgresDialect, sql } from "kysely";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { cloneDatabase } from "#testing/clone-database.ts";
import { Lane } from "./lane.ts";
import { unavailable } from "./open.ts";

let undo: (() => unknown)[];
beforeEach(() => {
  undo = [];
});
afterEach(async () => {
  for (const step of undo.reverse()) await step();
});

/** A lane to a database of its own, through a door that counts what comes and can be slammed. */
async function openLane() {
  const clone = await cloneDatabase();
  undo.push(() => clone[Symbol.asyncDispose]());
  const { host, user, database } = clone;
  const folder = mkdtempSync(join(tmpdir(), "casemate-lane-"));
  const door = { arrivals: 0, open: [] as Socket[] };
  const server = createServer((from) => {
    const to = createConnection(join(host, ".s.PGSQL.5432"));
    door.open.push(from, to);
    from.on("data", () => door.arrivals++);
    for (const each of [from, to]) each.on("error", () => {});
    from.on("close", () => to.destroy());
    from.pipe(to).pipe(from);
  });
  await new Promise<void>((resolve) => server.listen(join(folder, ".s.PGSQL.5432"), resolve));
  const pool = new Lane({ host: folder, user, database });
  const lane = new Kysely<object>({ dialect: new PostgresDialect({ pool }) });
  undo.push(
    () => rmSync(folder, { recursive: true, force: true }),
    () => new Promise((resolve) => server.close(resolve)),
    () => lane.destroy(),
  );
  return { lane, door };
}

const ask = async (lane: Kysely<object>, value: number): Promise<number> =>
  (await sql<{ n: number }>`select ${value}::int as n`.execute(lane)).rows[0]!.n;

it("what is asked in one turn leaves in one write, and each is told its own", async () => {
  const { lane } = await openLane();
  // Connected, and the statement known to it by name.
  for (let n = 0; n < 3; n++) await ask(lane, n);
  // A write of several messages; the door passes on what comes as one.
  const writes = vi.spyOn(Socket.prototype as unknown as { _writev(): void }, "_writev");
  undo.push(() => writes.mockRestore());
  const numbers = Array.from({ length: 20 }, (_, n) => n);
  expect(await Promise.all(numbers.map((n) => ask(lane, n)))).toEqual(numbers);
  expect(writes).toHaveBeenCalledTimes(1);
});

it("a statement that fails fails alone", async () => {
  const { lane } = await openLane();
  const answers = await Promise.allSettled([
    ask(lane, 1),
    sql`select 1 / ${0}::int`.execute(lane),
    ask(lane, 3),
  ]);
  expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(await ask(lane, 4)).toBe(4);
});

it("a connection that is lost fails what was asked on it as unavailable, and the next question is answered", async () => {
  const { lane, door } = await openLane();
  expect(await ask(lane, 1)).toBe(1);
  const asleep = Promise.allSettled([sql`select pg_sleep(${30})`.execute(lane), ask(lane, 2)]);
  await expect.poll(() => door.arrivals).toBeGreaterThan(1);
  for (const socket of door.open) socket.destroy();
  for (const answer of await asleep) {
    expect(answer.status).toBe("rejected");
    expect(unavailable((answer as PromiseRejectedResult).reason)?.code).toBe("platform.database-unavailable");
  }
  expect(await ask(lane, 3)).toBe(3);
});

it("a lane takes no transaction: everybody's statements would be in it", async () => {
  const { lane } = await openLane();
  await expect(lane.transaction().execute((tx) => sql`select 1`.execute(tx))).rejects.toThrow(
    "no transactions",
  );
  expect(await ask(lane, 1)).toBe(1);
});
