// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { expect, it } from "vitest";
import { ownDatabase } from "#testing/own-database.ts";
import { authenticate, openAccount } from "./index.ts";

const { db } = await ownDatabase(5);

const newKey = async () => {
  const email = `a${randomBytes(5).toString("hex")}@example.com`;
  return openAccount(db.run, { email, jurisdiction: "US" });
};

it("counts every one of the calls that come at once, and tells each its own place", async () => {
  const [one, other] = [await newKey(), await newKey()];
  const calls = Array.from({ length: 60 }, (_, n) => (n % 3 === 0 ? other : one).key);
  const found = await Promise.all(calls.map((sent) => authenticate(db.soft, sent)));
  const places = (account: string) =>
    found
      .filter((each) => each?.principal.account?.id === account)
      .map((each) => each!.used)
      .sort((a, b) => a - b);
  expect(places(one.accountId)).toEqual(Array.from({ length: 40 }, (_, n) => n + 1));
  expect(places(other.accountId)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1));
});

it("knows nobody by a wrong key that comes together with a right one", async () => {
  const { key, accountId } = await newKey();
  const wrong = `${key.slice(0, -1)}${key.endsWith("a") ? "b" : "a"}`;
  const found = await Promise.all([wrong, key, wrong].map((sent) => authenticate(db.soft, sent)));
  expect(found.map((each) => each?.principal.account?.id ?? null)).toEqual([null, accountId, null]);
});

it("does not know a key any more from the moment its revocation was answered", async () => {
  const { key } = await newKey();
  const { principal } = (await authenticate(db.soft, key))!;
  const calls = Array.from({ length: 20 }, () => authenticate(db.soft, key));
  await sql`update api_keys set revoked_at = now() where id = ${principal.keyId}`.execute(db.run);
  expect(await authenticate(db.soft, key)).toBe(null);
  await Promise.all(calls);
});
