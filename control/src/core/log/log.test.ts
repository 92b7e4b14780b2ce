// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, describe, expect, test } from "vitest";
import { type Checkpoint, isOfLog, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { openInclusion } from "#evidence/log/inclusion.ts";
import { readNoteKey } from "#evidence/log/note.ts";
import { unbundle } from "#evidence/log/tiles.ts";
import { extendsTree, includes } from "#evidence/log/tree.ts";
import { Frontier, leafHash, merkleRoot } from "#evidence/proofs/merkle.ts";
import { ownDatabase } from "#testing/own-database.ts";
import type { Database } from "../../database/open.ts";
import { openKeyRing, openVault } from "../vault/index.ts";
import {
  findInclusion,
  LogForked,
  LogWriter,
  listLogKeys,
  newestCheckpoint,
  outsideFile,
  readTile,
  restartLog,
  rotateLogKey,
} from "./index.ts";
import { addLeaves } from "./leaves.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-log-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const path = () => join(folder, `outside-${++files}`);
const ORIGIN = "example.org/log";
const EAGER = { origin: ORIGIN, everyMs: 10, entries: 1 };

async function writerOf(db: Database, { outside = path(), config = EAGER, clock = (): number => 0 } = {}) {
  const vault = openVault(db.run, await openKeyRing(join(folder, "kek")));
  return { vault, writer: new LogWriter({ db, vault, outside: outsideFile(outside), clock }, config) };
}

async function machineAt(db: Database, position: number): Promise<string> {
  const { rows } = await sql<{ machine_id: string }>`
    select machine_id from proof_leaves where position = ${position}`.execute(db.run);
  return rows[0]!.machine_id;
}
async function checkpointsOf(db: Database, origin: string): Promise<string[]> {
  const { rows } = await sql<{ note: string }>`
    select note from log_checkpoints where origin = ${origin} order by size`.execute(db.run);
  return rows.map(({ note }) => note);
}
const entry = (position: number, kind = "entry") => Buffer.from(`${kind}${position}`);
const rootOf = (size: number) => merkleRoot(Array.from({ length: size }, (_, at) => entry(at)));

describe("a log that grew by several checkpoints", async () => {
  const { db } = await ownDatabase(4);
  const { writer, vault } = await writerOf(db);
  const signed: Checkpoint[] = [];

  test("signs the root over all its entries, each time", async () => {
    expect(await writer.sign()).toBeNull();
    for (const count of [1, 2, 253, 1, 300, 70_000]) {
      await addLeaves(db, count);
      for (let one = await writer.sign(); one !== null; one = await writer.sign()) signed.push(one);
    }
    // The last came in two: one checkpoint takes in a bounded number.
    expect(signed.map(({ size }) => size)).toEqual([1, 3, 256, 257, 557, 557 + 65_536, 70_557]);
    for (const { size, root } of signed) expect(Buffer.from(root)).toEqual(Buffer.from(rootOf(size)));
  });

  test("proves every entry in every tree that has it, and every tree to begin with every earlier one", async () => {
    const { keys } = await listLogKeys(db.soft);
    const known = keys.map(({ key }) => readNoteKey(key)!);
    for (const tree of signed) {
      for (const older of signed.filter(({ size }) => size <= tree.size)) {
        for (const index of [0, older.size - 1, tree.size - 1]) {
          const found = await findInclusion(
            db.soft,
            { machine: await machineAt(db, index) },
            {
              size: tree.size,
              from: older.size,
            },
          );
          const { proof, checkpoint, consistency } = openInclusion(found)!;
          expect(isOfLog(checkpoint, known)).toBe(true);
          expect(includes(leafHash(entry(index)), index, tree.size, proof, tree.root)).toBe(true);
          expect(extendsTree(older, tree, consistency!.proof)).toBe(true);
        }
      }
    }
  });

  test("shows an entry in no tree that was not signed or does not have it", async () => {
    const machine = await machineAt(db, 300);
    expect(await findInclusion(db.soft, { machine }, { size: 300 })).toBe("unsigned");
    expect(await findInclusion(db.soft, { machine }, { size: 257 })).toBe("unsigned");
    expect(await findInclusion(db.soft, { machine }, { from: 80_000 })).toBe("unsigned");
    expect(await findInclusion(db.soft, { machine: "mach_none" }, {})).toBe("pending");
  });

  test("has tiles from which a stranger computes the same root", async () => {
    const size = 70_557;
    const tree = new Frontier();
    for (let index = 0; index * 256 < size; index++) {
      const width = Math.min(256, size - index * 256);
      const entries = unbundle((await readTile(db.soft, { level: "entries", index, width }))!)!;
      const hashes = (await readTile(db.soft, { level: 0, index, width }))!;
      expect(Buffer.concat(entries.map(leafHash))).toEqual(hashes);
      for (const one of entries) tree.add(leafHash(one));
    }
    expect(tree.root()).toEqual(signed.at(-1)!.root);
    const above = (await readTile(db.soft, { level: 1, index: 1, width: 19 }))!;
    const first = (await readTile(db.soft, { level: 0, index: 256, width: 256 }))!;
    const below = new Frontier();
    for (let at = 0; at < first.length; at += 32) below.add(first.subarray(at, at + 32));
    expect(above.subarray(0, 32)).toEqual(Buffer.from(below.root()));
    expect((await readTile(db.soft, { level: 2, index: 0, width: 1 }))!.length).toBe(32);
    expect(await readTile(db.soft, { level: 2, index: 0, width: 2 })).toBeNull();
  });

  test("goes on under a new key after a rotation, and tells the old one for what it signed", async () => {
    const before = openCheckpoint((await newestCheckpoint(db.soft))!.note)!;
    const added = readNoteKey(await rotateLogKey(db, vault))!;
    await addLeaves(db, 1);
    // The one with the old key in memory finds out before it signs.
    const next = await writer.sign();
    const after = openCheckpoint(next!.note)!;
    expect([isOfLog(after, [added]), isOfLog(before, [added])]).toEqual([true, false]);
    const { origin, keys } = await listLogKeys(db.soft);
    expect(origin).toBe(ORIGIN);
    expect(keys.map(({ retired }) => retired)).toEqual([false, true]);
    const old = readNoteKey(keys[1]!.key)!;
    expect([isOfLog(after, [old]), isOfLog(before, [old])]).toEqual([false, true]);
  });

  test.each([
    "update proof_leaves set entry = '\\x00' where position = 3",
    "delete from proof_leaves where position = 3",
    "truncate proof_leaves",
    "update log_checkpoints set note = ''",
    "delete from log_nodes",
  ])("refuses: %s", async (statement) => {
    await expect(sql.raw(statement).execute(db.run)).rejects.toThrow(/only grows/);
  });

  test("keeps the name that it was given first", async () => {
    const { writer: renamed } = await writerOf(db, { config: { ...EAGER, origin: "example.org/other" } });
    await expect(renamed.sign()).rejects.toThrow(/since its first start/);
  });
});

test("of many writers at once one signs, and the trees are one line", async () => {
  const { db } = await ownDatabase(12);
  const writers = await Promise.all(Array.from({ length: 4 }, async () => (await writerOf(db)).writer));
  const signed: Checkpoint[] = [];
  for (let round = 0; round < 10; round++) {
    const [, ...found] = await Promise.all([addLeaves(db, 7), ...writers.map((writer) => writer.sign())]);
    signed.push(...found.filter((one) => one !== null));
  }
  const last = await writers[0]!.sign();
  if (last !== null) signed.push(last);
  expect(new Set(signed.map(({ size }) => size)).size).toBe(signed.length);
  for (const { size, root } of signed) expect(Buffer.from(root)).toEqual(Buffer.from(rootOf(size)));
  expect(Math.max(...signed.map(({ size }) => size))).toBe(70);
  expect((await listLogKeys(db.soft)).keys).toHaveLength(1);
});

describe("a database that was restored from a backup", async () => {
  const { db: lived } = await ownDatabase(4);
  const { db: restored } = await ownDatabase(4);
  const outside = path();

  test("signs nothing while it has less than was signed", async () => {
    const { writer } = await writerOf(lived, { outside });
    await addLeaves(lived, 10);
    await writer.sign();
    await addLeaves(lived, 10);
    await writer.sign();
    // What the backup had, and was signed then.
    await addLeaves(restored, 10);
    await (await writerOf(restored)).writer.sign();

    const { writer: after } = await writerOf(restored, { outside });
    await expect(after.turn()).rejects.toThrow(LogForked);
    expect(after.stopped).toMatch(/signed 10 entries and is known outside with 20/);
    await addLeaves(restored, 5);
    expect(await after.sign()).toBeNull();
    expect((await newestCheckpoint(restored.soft))!.size).toBe(10);
  });

  test("signs nothing either when as much was added again, but other entries", async () => {
    await addLeaves(restored, 10, "other");
    // A writer that did not look outside, as another product would.
    await (await writerOf(restored)).writer.sign();
    const { writer } = await writerOf(restored, { outside });
    await expect(writer.sign()).rejects.toThrow(/first 20 entries are not those that were signed/);
    await addLeaves(restored, 1, "more");
    expect(await writer.sign()).toBeNull();
    expect((await newestCheckpoint(restored.soft))!.size).toBe(25);
  });

  test("goes on as another log with all its entries when its operator abandons the one it was", async () => {
    const { writer, vault } = await writerOf(restored, { outside });
    await expect(writer.sign()).rejects.toThrow(LogForked);
    expect(await restartLog(restored, vault, "example.org/not-this")).toBeNull();
    const key = readNoteKey((await restartLog(restored, vault, ORIGIN))!)!;
    expect(await restartLog(restored, vault, ORIGIN)).toBeNull();
    expect(await newestCheckpoint(restored.soft)).toBeNull();
    await writer.sign();
    const { size, origin, note } = openCheckpoint((await newestCheckpoint(restored.soft))!.note)!;
    expect(size).toBe(26);
    expect(origin).toMatch(/^example\.org\/log\/r-[0-9a-f]{8}$/);
    expect(isOfLog({ size, origin, note, root: Buffer.alloc(0) }, [key])).toBe(true);
    const found = await findInclusion(restored.soft, { machine: await machineAt(restored, 20) }, {});
    const { proof, checkpoint } = openInclusion(found)!;
    expect(includes(leafHash(entry(20, "other")), 20, 26, proof, checkpoint.root)).toBe(true);
    // Another replica, whose file still has the abandoned one.
    const stale = path();
    writeFileSync(stale, (await checkpointsOf(restored, ORIGIN)).at(-1)!);
    await addLeaves(restored, 1, "last");
    expect(await (await writerOf(restored, { outside: stale })).writer.sign()).toMatchObject({ size: 27 });
  });

  test("signs nothing when what lies outside cannot be read, or is of another log", async () => {
    await (await writerOf(lived, { outside: path() })).writer.sign();
    const broken = path();
    writeFileSync(broken, "not a checkpoint\n");
    await expect((await writerOf(lived, { outside: broken })).writer.sign()).rejects.toThrow(
      /is no checkpoint/,
    );
    const { db: foreign } = await ownDatabase(4);
    await addLeaves(foreign, 20);
    const { writer } = await writerOf(foreign, {
      outside,
      config: { ...EAGER, origin: "example.org/foreign" },
    });
    await expect(writer.sign()).rejects.toThrow(/is of the log example.org\/log/);
  });
});

test("a checkpoint is signed for many entries at once, and for few when they have waited", async () => {
  const { db } = await ownDatabase(4);
  let now = 0;
  const config = { origin: ORIGIN, everyMs: 1000, entries: 5 };
  const { writer } = await writerOf(db, { config, clock: () => now });
  expect(await writer.turn()).toBeNull();
  await addLeaves(db, 4);
  expect(await writer.turn()).toBeNull();
  now = 999;
  expect(await writer.turn()).toBeNull();
  now = 1000;
  expect(await writer.turn()).toMatchObject({ size: 4 });
  await addLeaves(db, 5);
  expect(await writer.turn()).toMatchObject({ size: 9 });
});

test("a log with an entry missing is not signed over the gap", async () => {
  const { db } = await ownDatabase(4);
  await addLeaves(db, 3);
  await sql`update proof_log set size = 5`.execute(db.run);
  const { writer } = await writerOf(db);
  await expect(writer.sign()).rejects.toThrow(/entry 3 of the log is missing/);
  expect(await newestCheckpoint(db.soft)).toBeNull();
});
