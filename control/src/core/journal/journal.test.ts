// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from "node:crypto";
import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import { ownDatabase } from "#testing/own-database.ts";
import { openAccount } from "../identity/index.ts";
import { append, findCheckpoint, openFeed, pruneJournal, type Sealer } from "./index.ts";

const { db } = await ownDatabase(20);

const newAccount = async () =>
  (await openAccount(db.run, { email: `a${randomBytes(5).toString("hex")}@example.com`, jurisdiction: "US" }))
    .accountId;
const write = (account: string, n: number) =>
  db.write((tx) => append(tx, { account, type: "test.happened", subject: account, payload: { n } }));

describe("the journal", () => {
  it("shows a reader who reconnects all of two hundred parallel writers, in order, without a gap", async () => {
    const account = await newAccount();
    const feed = await openFeed(db);
    const never = new AbortController().signal;
    const seen: number[] = [];
    const reading = (async () => {
      while (seen.length < 200) {
        // Every turn is a reconnect: only the last sequence number is carried over.
        const rows = await feed.after(account, account, seen.at(-1) ?? 0, 17);
        seen.push(...rows.map(({ seq }) => seq));
        if (rows.length === 0) await feed.wait(account, 200, never);
      }
    })();
    await Promise.all(Array.from({ length: 200 }, (_, n) => write(account, n)));
    await reading;
    expect(seen).toEqual(Array.from({ length: 200 }, (_, n) => n + 1));
  });

  it("gives no number to a transaction that rolled back", async () => {
    const account = await newAccount();
    await write(account, 1);
    await db
      .write(async (tx) => {
        await append(tx, { account, type: "test.happened", subject: account, payload: {} });
        throw new Error("no");
      })
      .catch(() => {});
    expect(await write(account, 2)).toBe(2);
  });

  it("is a chain over salted hashes that holds after payloads were erased", async () => {
    const account = await newAccount();
    for (let n = 0; n < 5; n++) await write(account, n);
    const before = await chainOf(account);
    expect(before.holds).toBe(true);
    expect(before.payloadsMatch).toBe(true);
    await sql`update journal set payload = null, salt = null where account_id = ${account} and seq <= 3`.execute(
      db.run,
    );
    expect((await chainOf(account)).holds).toBe(true);
    await sql`update journal set payload_hash = sha256('x') where account_id = ${account} and seq = 2`.execute(
      db.run,
    );
    expect((await chainOf(account)).holds).toBe(false);
  });
});

describe("pruning", () => {
  it("leaves a chain that starts at a signed head, and keeps what is young", async () => {
    const account = await newAccount();
    for (let n = 0; n < 6; n++) await write(account, n);
    await sql`update journal set at = now() - interval '20 days' where account_id = ${account} and seq <= 4`.execute(
      db.run,
    );
    expect(await pruneJournal(db, plainSealer, 10)).toBe(4);
    expect(await pruneJournal(db, plainSealer, 10)).toBe(0);
    const checkpoint = await findCheckpoint(db, account);
    expect(checkpoint?.seq).toBe(4);
    expect((await chainOf(account, Buffer.from(checkpoint!.head, "hex"))).holds).toBe(true);
    expect((await chainOf(account)).holds).toBe(false);
    expect(await write(account, 6)).toBe(7);
  });

  it("does not believe a checkpoint that was changed", async () => {
    const account = await newAccount();
    for (let n = 0; n < 3; n++) await write(account, n);
    await sql`update journal set at = now() - interval '20 days' where account_id = ${account} and seq <= 2`.execute(
      db.run,
    );
    await pruneJournal(db, plainSealer, 10);
    await sql`update journal_checkpoints set head = sha256('other') where account_id = ${account}`.execute(
      db.run,
    );
    await expect(findCheckpoint(db, account)).rejects.toThrow(/does not verify/);
  });
});

/** Sealing has tests of its own; here the key may lie open. */
const plainSealer: Sealer = {
  seal: async (_identity, value) => Buffer.from(value),
  open: async (_identity, sealed) => Buffer.from(sealed),
};

/** Recomputes the chain from the rows, independently of the SQL that made it. */
async function chainOf(
  account: string,
  from: Buffer = Buffer.alloc(32),
): Promise<{ holds: boolean; payloadsMatch: boolean }> {
  const { rows } = await sql<{
    seq: number;
    text: string | null;
    salt: Buffer | null;
    payload_hash: Buffer;
    head: Buffer;
  }>`
    select seq, payload::text as text, salt, payload_hash, head from journal where account_id = ${account} order by seq`.execute(
    db.run,
  );
  let head = from;
  let holds = true;
  let payloadsMatch = true;
  for (const row of rows) {
    const number = Buffer.alloc(8);
    number.writeBigInt64BE(BigInt(row.seq));
    head = createHash("sha256").update(head).update(number).update(row.payload_hash).digest();
    holds &&= head.equals(row.head);
    if (row.text !== null && row.salt !== null) {
      payloadsMatch &&= createHash("sha256")
        .update(row.salt)
        .update(row.text)
        .digest()
        .equals(row.payload_hash);
    }
  }
  return { holds, payloadsMatch };
}
