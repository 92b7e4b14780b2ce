// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, sign } from "node:crypto";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { imageMessage } from "#evidence/images/signature.ts";
import { imageEntry } from "#evidence/log/entry.ts";
import { leafHash } from "#evidence/proofs/merkle.ts";
import { ownDatabase } from "#testing/own-database.ts";
import type { Db } from "../../database/open.ts";
import { addLeaves } from "../log/leaves.ts";
import { isLogged, openImageTurn } from "./index.ts";

const { db } = await ownDatabase(6);
const hash = (digit: string) => digit.repeat(64);

interface Leaf {
  position: number;
  entry: Buffer;
  leaf_hash: Buffer;
}
async function leavesOf(sha256: string): Promise<Leaf[]> {
  const { rows } = await sql<Leaf>`
    select position, entry, leaf_hash from proof_leaves where image_sha256 = ${sha256}`.execute(db.run);
  return rows;
}

test("an image has one entry, the one a stranger computes, however many enter it at once", async () => {
  await Promise.all([
    ...Array.from({ length: 12 }, () => sql`select log_guest_image(${hash("a")})`.execute(db.run)),
    ...Array.from({ length: 12 }, (_, n) => addLeaves(db, 1, `at once ${n}`)),
  ]);
  const [leaf, ...more] = await leavesOf(hash("a"));
  expect(more).toEqual([]);
  expect(leaf!.entry).toEqual(Buffer.from(imageEntry(hash("a"))));
  expect(leaf!.leaf_hash).toEqual(Buffer.from(leafHash(imageEntry(hash("a")))));
  const { rows } = await sql<{ gaps: number; behind: number }>`
    select (max(position) + 1 - count(*))::int as gaps, (select size from proof_log) - max(position) as behind
    from proof_leaves`.execute(db.run);
  expect(rows).toEqual([{ gaps: 0, behind: 1 }]);
});

test("who enters an image that another is entering waits, and finds it there", async () => {
  const second = await db.write(async (tx) => {
    await sql`select log_guest_image(${hash("9")})`.execute(tx);
    const waiting = sql`select log_guest_image(${hash("9")})`.execute(db.run);
    await expect
      .poll(async () => (await sql`select from pg_locks where not granted`.execute(tx)).rows.length)
      .toBeGreaterThan(0);
    return { waiting };
  });
  await second.waiting;
  expect(await leavesOf(hash("9"))).toHaveLength(1);
});

test("an image that something names is in the log when that is committed, and not when it is not", async () => {
  const spare = (tx: Db, slot: number, sha256: string) =>
    sql`
    with machine as (
      insert into machines (id, host_id, spec, surface, created_at)
      values (${`mach_${String(slot).repeat(32)}`}, 'mine', '{}', 'instances', now()) returning id)
    insert into instance_spares (machine_id, agent, image_sha256, slot)
    select id, 'none', ${sha256}, ${slot} from machine`.execute(tx);
  await db.write((tx) => spare(tx, 1, hash("b")));
  const undone = db.write(async (tx) => {
    await spare(tx, 2, hash("f"));
    throw new Error("not after all");
  });
  await expect(undone).rejects.toThrow("not after all");
  expect([await isLogged(db.run, hash("b")), await isLogged(db.run, hash("f"))]).toEqual([true, false]);
});

test("each table that names an image enters it, and last of all", async () => {
  for (const table of ["workloads", "workload_launches", "instances", "instance_spares"]) {
    const { rows } = await sql<{ deferred: boolean }>`
      select tginitdeferred as deferred from pg_trigger
      where tgrelid = ${table}::regclass and tgfoid = 'image_is_logged'::regproc and tgenabled = 'O'`.execute(
      db.run,
    );
    expect(rows, table).toEqual([{ deferred: true }]);
  }
});

test("what is offered is entered before anybody chose it, when an issuer that is known here signed it", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const spki = publicKey.export({ format: "der", type: "spki" }).toString("base64");
  const issuers = async () => [{ issuerId: "iss_images", publicKey: `base64:${spki}` }];
  const signed = (sha256: string, of = sha256) => ({
    sha256,
    signature: {
      ...{ v: 1, metadata_sha256: sha256, issuer_id: "iss_images" },
      sig: `base64:${sign(null, imageMessage(of), privateKey).toString("base64")}`,
    },
  });
  const offered = [signed(hash("c")), signed(hash("d"), hash("c")), { sha256: hash("e"), signature: null }];
  const turn = openImageTurn({ db, guestImages: { offered: () => offered }, issuers });
  await turn();
  await turn();
  const logged = await Promise.all(["c", "d", "e"].map((digit) => isLogged(db.run, hash(digit))));
  expect(logged).toEqual([true, false, false]);
});
