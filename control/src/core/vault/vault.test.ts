// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ownDatabase } from "#testing/own-database.ts";
import { openKeyRing, openVault } from "./index.ts";

const { db } = await ownDatabase(4);
const folder = mkdtempSync(join(tmpdir(), "casemate-vault-"));
let made = 0;
const ringPath = () => join(folder, `kek-${++made}`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const secret = Buffer.from("the salt of a session");

describe("the vault", () => {
  it("opens what it sealed, in this process and in the next", async () => {
    const path = ringPath();
    const sealed = await openVault(db.run, await openKeyRing(path)).seal("proofs/a/salt", secret);
    expect(sealed.includes(secret)).toBe(false);
    expect(await openVault(db.run, await openKeyRing(path)).open("proofs/a/salt", sealed)).toEqual(secret);
  });

  it("does not open a value that was moved to another row", async () => {
    const vault = openVault(db.run, await openKeyRing(ringPath()));
    const sealed = await vault.seal("proofs/a/salt", secret);
    await expect(vault.open("proofs/b/salt", sealed)).rejects.toThrow();
  });

  it("does not open a value with any byte changed", async () => {
    const vault = openVault(db.run, await openKeyRing(ringPath()));
    const sealed = await vault.seal("x", secret);
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at]! ^= 1;
      await expect(vault.open("x", changed), `byte ${at}`).rejects.toThrow();
    }
  });

  it("opens old values after a rotation, with the old key gone from the database's wrapping", async () => {
    const path = ringPath();
    const ring = await openKeyRing(path);
    const vault = openVault(db.run, ring);
    const sealed = await vault.seal("x", secret);
    const old = ring.newest().id;
    await ring.add();
    // Others sealed in this database under rings of other tests are not ours to wrap.
    await db.run.deleteFrom("vault_data_keys").where("kek_id", "<>", old).execute();
    expect(await vault.rewrap()).toBe(1);
    expect(await vault.rewrap()).toBe(0);
    const [newest] = readFileSync(path, "utf8").split("\n");
    writeFileSync(path, `${newest}\n`);
    expect(await openVault(db.run, await openKeyRing(path)).open("x", sealed)).toEqual(secret);
  });

  it("opens what another process sealed after a rotation of its own, and loses no key of its by rotating too", async () => {
    const path = ringPath();
    const [ours, theirs] = [await openKeyRing(path), await openKeyRing(path)];
    const vault = openVault(db.run, ours);
    await theirs.add();
    const sealed = await openVault(db.run, theirs).seal("x", secret);
    expect(await vault.open("x", sealed)).toEqual(secret);
    await theirs.add();
    const later = await openVault(db.run, theirs).seal("x", secret);
    await ours.add();
    expect(await openVault(db.run, await openKeyRing(path)).open("x", later)).toEqual(secret);
  });

  it("opens nothing with another key ring", async () => {
    const sealed = await openVault(db.run, await openKeyRing(ringPath())).seal("x", secret);
    await expect(openVault(db.run, await openKeyRing(ringPath())).open("x", sealed)).rejects.toThrow(
      /not in/,
    );
  });

  it("keeps its key ring readable by its owner only, and refuses a file that is none", async () => {
    const path = ringPath();
    await openKeyRing(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    writeFileSync(path, "something else\n");
    await expect(openKeyRing(path)).rejects.toThrow(/not a key ring/);
  });
});
