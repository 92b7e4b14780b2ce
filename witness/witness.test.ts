// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openCheckpoint, seenAt } from "#evidence/log/checkpoint.ts";
import { readNoteKey, writeNote, writeNoteKey } from "#evidence/log/note.ts";
import { makeLog } from "#evidence/log/specimen.ts";
import { readHash } from "#evidence/log/tiles.ts";
import { openWitnessKey } from "./key.ts";
import { writeAddCheckpoint } from "./request.ts";
import { witnessServer } from "./server.ts";
import { hashOfOrigin, Witness } from "./witness.ts";

const root = mkdtempSync(join(tmpdir(), "casemate-witness-"));
afterAll(() => rmSync(root, { recursive: true }));
let folders = 0;
const NOW_S = 1_790_000_000;

const log = makeLog();
const entries = Array.from({ length: 300 }, (_, index) => Buffer.from(`entry ${index}`));
const forked = entries.with(1, Buffer.from("another"));

/** What a log sends whose witness saw `old` entries of it. */
function request(list: Buffer[], size: number, old: number, proofOf = list): Buffer {
  const proof =
    old === 0 || old === size ? [] : log.inclusion(proofOf.slice(0, size), 0, old).consistency!.proof;
  const hashes = proof.map((hash) => readHash(hash)!);
  return Buffer.from(writeAddCheckpoint(old, hashes, log.checkpoint(list.slice(0, size))));
}

async function open(folder = join(root, String(++folders))) {
  mkdirSync(folder, { recursive: true });
  const key = await openWitnessKey(join(folder, "key.pem"), "example.net/witness");
  return { folder, key, witness: await Witness.open(folder, key, [log.noteKey], () => NOW_S * 1000 + 999) };
}

describe("a witness", () => {
  test("says with its time that it saw a tree, and the next that grew from it", async () => {
    const { witness, key } = await open();
    for (const [size, old] of [
      [3, 0],
      [3, 3],
      [7, 3],
      [8, 7],
      [300, 8],
    ] as const) {
      const reply = await witness.add(request(entries, size, old));
      expect([size, reply.status]).toEqual([size, 200]);
      const note = openCheckpoint(`${log.checkpoint(entries.slice(0, size))}${reply.body}`)!;
      expect(seenAt(note, [readNoteKey(writeNoteKey(key))!])).toBe(NOW_S);
    }
    const shown = openCheckpoint(witness.newest(hashOfOrigin(log.noteKey.name))!)!;
    expect([shown.size, seenAt(shown, [key])]).toEqual([300, NOW_S]);
  });

  test("never signs two trees of which one is not the beginning of the other, also after a restart", async () => {
    const first = await open();
    expect((await first.witness.add(request(entries, 5, 0))).status).toBe(200);
    const again = await open(first.folder);
    for (const { witness } of [first, again]) {
      // Another tree of that size, a larger one that grew from another, the same with a proof of the true one.
      const same = await witness.add(request(forked, 5, 5));
      expect([same.status, same.mediaType]).toEqual([409, "text/plain; charset=utf-8"]);
      expect((await witness.add(request(forked, 9, 5))).status).toBe(422);
      expect((await witness.add(request(forked, 9, 5, entries))).status).toBe(422);
      // As one who forgot: from nothing, or from a smaller tree.
      for (const old of [0, 4]) {
        const reply = await witness.add(request(forked, 9, old));
        expect(reply).toEqual({ status: 409, body: "5\n", mediaType: "text/x.tlog.size" });
      }
    }
    expect((await again.witness.add(request(entries, 9, 5))).status).toBe(200);
  });

  test("signs one of two trees that come at once", async () => {
    const { witness } = await open();
    await witness.add(request(entries, 1, 0));
    const replies = await Promise.all(
      [entries, forked, forked, entries].map((list) => witness.add(request(list, 6, 1))),
    );
    expect(replies.map(({ status }) => status)).toEqual([200, 409, 409, 409]);
  });

  test("signs nothing that is not on its disk", async () => {
    const { witness, folder } = await open();
    // Root may write into any folder, but no file may take a folder's place.
    mkdirSync(join(folder, hashOfOrigin(log.noteKey.name), "in-the-way"), { recursive: true });
    await expect(witness.add(request(entries, 5, 0))).rejects.toThrow();
    expect(witness.newest(hashOfOrigin(log.noteKey.name))).toBeNull();
    rmSync(join(folder, hashOfOrigin(log.noteKey.name)), { recursive: true });
    expect((await witness.add(request(entries, 4, 0))).status).toBe(200);
  });

  test("does not start with a memory that it cannot read, nor with a key that is none", async () => {
    const { folder, witness } = await open();
    await witness.add(request(entries, 5, 0));
    expect(statSync(join(folder, "key.pem")).mode & 0o777).toBe(0o600);
    writeFileSync(join(folder, hashOfOrigin(log.noteKey.name)), "");
    await expect(open(folder)).rejects.toThrow("no checkpoint");
    writeFileSync(join(folder, "key.pem"), "rubbish");
    chmodSync(join(folder, "key.pem"), 0o600);
    await expect(open(folder)).rejects.toThrow("does not hold the key of a witness");
  });

  test.each([
    ["nothing", Buffer.alloc(0), 400],
    ["no checkpoint", Buffer.from("old 0\n\nrubbish"), 400],
    ["no proof lines' end", Buffer.from(`old 0\n${log.checkpoint(entries)}`), 400],
    ["a size of two spellings", Buffer.from(`old 00\n\n${log.checkpoint(entries)}`), 400],
    ["a hash of another length", Buffer.from(`old 0\nAAAA\n\n${log.checkpoint(entries)}`), 400],
    ["an old tree that is larger", request(entries, 3, 3).toString().replace("old 3", "old 4"), 400],
    [
      "64 hashes",
      Buffer.from(`old 0\n${`${"A".repeat(43)}=\n`.repeat(64)}\n${log.checkpoint(entries)}`),
      400,
    ],
    ["a proof from nothing", Buffer.from(`old 0\n${"A".repeat(43)}=\n\n${log.checkpoint(entries)}`), 422],
    ["another log", Buffer.from(`old 0\n\n${makeLog("example.org/other").checkpoint(entries)}`), 404],
    ["this log's name under another key", Buffer.from(`old 0\n\n${makeLog().checkpoint(entries)}`), 403],
  ])("answers %s as the protocol says, and signs nothing", async (_what, body, status) => {
    const { witness } = await open();
    expect((await witness.add(Buffer.from(body))).status).toBe(status);
    expect(witness.newest(hashOfOrigin(log.noteKey.name))).toBeNull();
  });

  test("keeps the log's signatures and its own, and no line that somebody added", async () => {
    const { witness } = await open();
    const { note } = openCheckpoint(log.checkpoint(entries))!;
    const stuffed = writeNote({
      text: note.text,
      signatures: [...note.signatures, { name: "example.org/nobody", bytes: Buffer.alloc(68, 7) }],
    });
    expect((await witness.add(Buffer.from(writeAddCheckpoint(0, [], stuffed)))).status).toBe(200);
    expect(witness.newest(hashOfOrigin(log.noteKey.name))).not.toContain("nobody");
  });
});

test("over HTTP a witness takes checkpoints, shows the last and its key, and takes nothing large", async () => {
  const { witness, key } = await open();
  const faults: unknown[] = [];
  const server = witnessServer(witness, key, (fault) => faults.push(fault));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const place = `${url}/${hashOfOrigin(log.noteKey.name)}/checkpoint`;
    expect((await fetch(place)).status).toBe(404);
    const post = (body: Buffer) =>
      fetch(`${url}/add-checkpoint`, { method: "POST", body: new Uint8Array(body) });
    expect((await post(request(entries, 5, 0))).status).toBe(200);
    const behind = await post(request(entries, 6, 0));
    expect([behind.status, behind.headers.get("content-type"), await behind.text()]).toEqual([
      ...[409, "text/x.tlog.size", "5\n"],
    ]);
    expect(seenAt(openCheckpoint(await (await fetch(place)).text())!, [key])).toBe(NOW_S);
    expect(await (await fetch(`${url}/key`)).text()).toBe(`${writeNoteKey(key)}\n`);
    expect((await fetch(`${url}/add-checkpoint`)).status).toBe(405);
    expect((await post(Buffer.alloc(17 * 1024))).status).toBe(413);
    expect((await fetch(`${url}/${"0".repeat(64)}/checkpoint`)).status).toBe(404);
    expect((await fetch(`${url}/../key.pem`)).status).toBe(404);
    expect(faults).toEqual([]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
