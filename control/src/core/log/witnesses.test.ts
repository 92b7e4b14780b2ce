// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { isOfLog, openCheckpoint, seenAt } from "#evidence/log/checkpoint.ts";
import { readNoteKey, writeNoteKey } from "#evidence/log/note.ts";
import { makeLog } from "#evidence/log/specimen.ts";
import { ownDatabase } from "#testing/own-database.ts";
import { openWitnessKey } from "#witness/key.ts";
import { witnessServer } from "#witness/server.ts";
import { Witness } from "#witness/witness.ts";
import type { Database } from "../../database/open.ts";
import { openKeyRing, openVault } from "../vault/index.ts";
import { LogForked, LogWriter, listLogKeys, newestCheckpoint, outsideFile, Witnesses } from "./index.ts";
import { addLeaves } from "./leaves.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-witnessed-"));
afterAll(() => rmSync(folder, { recursive: true }));
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});
const SEEN_S = 1_790_000_000;
let names = 0;
const fresh = () => join(folder, String(++names));

/** A log of ours with its first tree signed, so that its key can be pinned. */
async function logOf(
  db: Database,
  origin: string,
  addresses: { url: string; key: string }[] = [],
  outside = fresh(),
) {
  const vault = openVault(db.run, await openKeyRing(join(folder, "kek")));
  const faults: string[] = [];
  const witnesses = new Witnesses(db, addresses, (text) => faults.push(text), 2_000);
  const deps = { db, vault, outside: outsideFile(outside), witnesses, clock: () => 0 };
  return { vault, faults, outside, writer: new LogWriter(deps, { origin, everyMs: 10, entries: 1 }) };
}

async function listen(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function witnessOf(db: Database, place = fresh()) {
  const logs = (await listLogKeys(db.soft)).keys.map(({ key }) => readNoteKey(key)!);
  mkdirSync(place, { recursive: true });
  const key = await openWitnessKey(join(place, "key.pem"), "example.net/witness");
  const witness = await Witness.open(place, key, logs, () => SEEN_S * 1000);
  const url = await listen(
    witnessServer(witness, key, (fault) => {
      throw fault;
    }),
  );
  return { url, key: writeNoteKey(key), noteKey: key, place };
}

/** What a backup of `from` would bring back: entries, keys, tree and checkpoints. */
async function copyLog(from: Database, to: Database): Promise<void> {
  for (const table of [
    "hosts",
    "machines",
    "vault_data_keys",
    "proof_leaves",
    "log_keys",
    "log_nodes",
    "log_checkpoints",
  ]) {
    const { rows } = await sql<{ row: string }>`
      select row_to_json(t)::text as row from ${sql.table(table)} t`.execute(from.run);
    await sql`
      insert into ${sql.table(table)} overriding system value select (json_populate_record(null::${sql.table(table)}, r.row::json)).*
      from unnest(${rows.map(({ row }) => row)}::text[]) r (row) on conflict do nothing`.execute(to.run);
  }
  for (const table of ["proof_log", "log_head"]) {
    const { rows } = await sql<Record<string, unknown>>`select * from ${sql.table(table)}`.execute(from.run);
    for (const [column, value] of Object.entries(rows[0]!))
      await sql`update ${sql.table(table)} set ${sql.ref(column)} = ${value}`.execute(to.run);
  }
}

const newest = async (db: Database) => openCheckpoint((await newestCheckpoint(db.soft))!.note)!;

describe("a log with witnesses", () => {
  test("shows each newest checkpoint with its own signature and theirs, which say when they saw it", async () => {
    const { db } = await ownDatabase(6);
    await addLeaves(db, 3);
    await (await logOf(db, "example.org/log")).writer.sign();
    const [one, other] = [await witnessOf(db), await witnessOf(db)];
    const { writer, faults } = await logOf(db, "example.org/log", [one, other]);
    await writer.sign();
    for (const count of [0, 1, 260]) {
      await addLeaves(db, count);
      await writer.sign();
      await writer.witnessTurn();
      const shown = await newest(db);
      expect(shown.note.signatures).toHaveLength(3);
      for (const { noteKey } of [one, other]) expect(seenAt(shown, [noteKey])).toBe(SEEN_S);
    }
    // Once signed, no witness is asked again.
    for (const server of servers) server.close();
    await writer.witnessTurn();
    expect(faults).toEqual([]);
    expect((await newest(db)).size).toBe(264);
  });

  test("goes on without one that is away, lies or dribbles, says so once, and has its line when it is back", async () => {
    const { db } = await ownDatabase(6);
    await addLeaves(db, 1);
    await (await logOf(db, "example.org/log")).writer.sign();
    const kept = await witnessOf(db);
    const silent = createServer(() => {});
    // It shows the log's own checkpoint, of more than there is, which it has not signed; and signs with nothing.
    const unsignedNote = makeLog("example.org/log").checkpoint(
      Array.from({ length: 9 }, () => Buffer.from("x")),
    );
    const liar = createServer(
      (request, answer) =>
        void answer.end(request.method === "GET" ? unsignedNote : "— example.net/witness AAAAAAAAAAAA\n"),
    );
    const endless = createServer((_request, answer) => {
      const more = () => {
        while (answer.write("x".repeat(65_536)));
        answer.once("drain", more);
      };
      more();
    });
    const urls = await Promise.all([silent, liar, endless].map(listen));
    const addresses = [
      ...urls.map((url) => ({ url, key: kept.key })),
      { ...kept, url: "http://127.0.0.1:1" },
    ];
    const { writer, faults } = await logOf(db, "example.org/log", addresses);
    await addLeaves(db, 1);
    expect(await writer.sign()).toMatchObject({ size: 2 });
    const [slow, unsigned, long, away] = addresses.map(({ url }) => `witness example.net/witness (${url}): `);
    expect(faults.toSorted()).toEqual(
      [
        `${slow}The operation was aborted due to timeout`,
        `${unsigned}it shows no checkpoint that it signed (200)`,
        `${long}its answer is too long`,
        `${away}fetch failed`,
      ].toSorted(),
    );
    for (let turn = 0; turn < 2; turn++) {
      await writer.witnessTurn();
      await addLeaves(db, 1);
      expect(await writer.sign()).toMatchObject({ size: 3 + turn });
    }
    // Said once each, and once more by the one that fails in another way now.
    expect(faults.slice(4)).toEqual([`${unsigned}it answered with no signature of its key`]);
    expect(writer.stopped).toBeNull();
    expect(seenAt(await newest(db), [kept.noteKey])).toBeNull();
    const back = await logOf(db, "example.org/log", [kept]);
    await back.writer.sign();
    await back.writer.witnessTurn();
    expect(seenAt(await newest(db), [kept.noteKey])).toBe(SEEN_S);
  }, 30_000);

  test("that was restored from a backup signs nothing when a witness saw more of it, or other", async () => {
    const { db } = await ownDatabase(6);
    await addLeaves(db, 3);
    await (await logOf(db, "example.org/log")).writer.sign();
    const witness = await witnessOf(db);
    // Nothing lies in its folder: only the witness remembers what was signed.
    const lived = await logOf(db, "example.org/log", [witness]);
    await lived.writer.sign();
    await lived.writer.witnessTurn();
    await addLeaves(db, 2);
    // As a database that lost it: the witness holds five, the log signed three and has other entries.
    const { db: restored } = await ownDatabase(6);
    await copyLog(db, restored);
    await lived.writer.sign();
    await lived.writer.witnessTurn();
    const after = await logOf(restored, "example.org/log", [witness]);
    await addLeaves(restored, 2, "other");
    await expect(after.writer.turn()).rejects.toThrow(LogForked);
    expect(after.writer.stopped).toMatch(/signed 3 entries and is known outside with 5/);
    expect((await newest(restored)).size).toBe(3);
  });

  test("that signed while its witness was away is stopped when the witness is back and saw another tree", async () => {
    const { db } = await ownDatabase(6);
    await addLeaves(db, 3);
    await (await logOf(db, "example.org/log")).writer.sign();
    const witness = await witnessOf(db);
    const lived = await logOf(db, "example.org/log", [witness]);
    await lived.writer.sign();
    const { db: restored } = await ownDatabase(6);
    await copyLog(db, restored);
    await addLeaves(db, 2);
    await lived.writer.sign();
    await lived.writer.witnessTurn();

    const place = await listen(
      createServer((request, answer) => {
        if (!back) return void request.socket.destroy();
        const body = request.method === "POST" ? request : undefined;
        void fetch(`${witness.url}${request.url}`, {
          ...{ method: request.method!, duplex: "half" },
          ...(body !== undefined && { body: body as never }),
        }).then(async (reply) => {
          const type = reply.headers.get("content-type") ?? "";
          answer.writeHead(reply.status, { "content-type": type }).end(await reply.text());
        });
      }),
    );
    let back = false;
    const forked = await logOf(restored, "example.org/log", [{ ...witness, url: place }]);
    await addLeaves(restored, 4, "other");
    expect(await forked.writer.sign()).toMatchObject({ size: 7 });
    back = true;
    await forked.writer.witnessTurn();
    await addLeaves(restored, 1, "other still");
    await expect(forked.writer.sign()).rejects.toThrow(/first 5 entries are not those that were signed/);
    expect((await newest(restored)).size).toBe(7);
    expect(seenAt(await newest(restored), [witness.noteKey])).toBeNull();
  });

  test("refuses to start with a key that is none of a witness", async () => {
    const { db } = await ownDatabase(2);
    const make = (key: string) => () => new Witnesses(db, [{ url: "http://127.0.0.1:1", key }], () => {});
    expect(make("rubbish")).toThrow(/is none of a witness/);
  });
});

test("an installation that came out of a backup signs nothing until it is told what was signed last", async () => {
  const { db } = await ownDatabase(6);
  await addLeaves(db, 3);
  const { writer, vault, outside } = await logOf(db, "example.org/log");
  await writer.sign();
  const held = (await newestCheckpoint(db.soft))!.note;
  await addLeaves(db, 1);
  for (const marker of ["restored example.org/log\nwords\n", "restored\n"]) {
    writeFileSync(outside, marker);
    const restored = await logOf(db, "example.org/log", [], outside);
    await expect(restored.writer.turn()).rejects.toThrow(/was restored from a backup/);
    expect((await newest(db)).size).toBe(3);
  }
  // A marker of a log that this one was begun after says nothing of it.
  writeFileSync(outside, "restored example.org/earlier\n");
  expect(await (await logOf(db, "example.org/log", [], outside)).writer.sign()).toMatchObject({ size: 4 });
  writeFileSync(outside, "restored example.org/log\n");
  await addLeaves(db, 1);
  writeFileSync(outside, held);
  const told = await logOf(db, "example.org/log", [], outside);
  expect(await told.writer.sign()).toMatchObject({ size: 5 });
  expect(isOfLog(await newest(db), [])).toBe(false);
  // Or what a witness saw of it.
  const witness = await witnessOf(db);
  const witnessed = await logOf(db, "example.org/log", [witness], outside);
  await witnessed.writer.sign();
  await witnessed.writer.witnessTurn();
  writeFileSync(outside, "restored example.org/log\n");
  await addLeaves(db, 1);
  const again = await logOf(db, "example.org/log", [witness], outside);
  expect(await again.writer.sign()).toMatchObject({ size: 6 });
  expect(vault).toBeDefined();
});
