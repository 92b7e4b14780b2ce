// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type ImageLock, lockText, parseLock } from "./lock.ts";
import { RECIPES } from "./recipe.ts";

const each = { version: "1:2.0-3~deb13u1+b2", architecture: "amd64", sizeBytes: 7, sha256: "ab".repeat(32) };
const LOCK: ImageLock = {
  ...{ v: 1, image: "base", suite: "trixie", architecture: "amd64", epochS: 1_750_000_000 },
  packages: (["root", "kernel", "stub", "compiler"] as const).map((use) => ({
    use,
    name: `for-${use}`,
    ...each,
  })),
};
const changed = (
  change: (lock: Record<string, unknown> & { packages: Record<string, unknown>[] }) => void,
) => {
  const lock = JSON.parse(lockText(LOCK));
  change(lock);
  return JSON.stringify(lock);
};

test.each(Object.values(RECIPES))(
  "the lock of $name is what its command writes, and is of its recipe",
  (recipe) => {
    const text = readFileSync(new URL(`./${recipe.name}.lock.json`, import.meta.url), "utf8");
    const lock = parseLock(text, recipe.name);
    expect(lockText(lock)).toBe(text);
    expect(lock).toMatchObject({ suite: recipe.suite, architecture: recipe.architecture });
    const names = lock.packages.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([...recipe.packages, recipe.stubPackage, ...recipe.compilerPackages]),
    );
  },
);

test("a lock is written in one order, whatever order it was made in", () => {
  const turned = { ...LOCK, packages: [...LOCK.packages].reverse() };
  expect(lockText(turned)).toBe(lockText(LOCK));
  expect(parseLock(lockText(turned), "base").packages).toHaveLength(4);
});

test.each([
  ["{", /no JSON/],
  ["[]", /the lock is no object/],
  [changed((lock) => Object.assign(lock, { v: 2 })), /v must be 1/],
  [changed((lock) => Object.assign(lock, { image: "other" })), /image must be base/],
  [changed((lock) => Object.assign(lock, { suite: "book worm" })), /suite is no name/],
  [changed((lock) => Object.assign(lock, { architecture: "mips" })), /architecture/],
  [changed((lock) => Object.assign(lock, { epochS: 1.5 })), /epochS/],
  [changed((lock) => Object.assign(lock, { hook: "rm" })), /the lock has a member that is not known/],
  [changed((lock) => Object.assign(lock, { packages: [] })), /packages must be a list/],
  [changed(({ packages }) => packages.push({ ...packages[0] })), /one package twice/],
  [changed(({ packages }) => packages.pop()), /none with use compiler/],
  [changed(({ packages }) => Object.assign(packages[1]!, { name: "--option" })), /packages\[1\].name/],
  [changed(({ packages }) => Object.assign(packages[1]!, { version: "1 2" })), /packages\[1\].version/],
  [
    changed(({ packages }) => Object.assign(packages[1]!, { sha256: "AB".repeat(32) })),
    /packages\[1\].sha256/,
  ],
  [changed(({ packages }) => Object.assign(packages[1]!, { sha256: ["x"] })), /packages\[1\].sha256/],
  [changed(({ packages }) => Object.assign(packages[1]!, { sizeBytes: -1 })), /packages\[1\].sizeBytes/],
  [changed(({ packages }) => Object.assign(packages[1]!, { use: "hook" })), /packages\[1\].use/],
  [changed(({ packages }) => Object.assign(packages[1]!, { url: "x" })), /packages\[1\] has a member/],
])("a lock with a fault is refused, and the member is named: %#", (text, complaint) => {
  expect(() => parseLock(text, "base")).toThrow(complaint);
});
