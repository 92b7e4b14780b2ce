// SPDX-License-Identifier: Apache-2.0
/** With a package archive of the test's own on disk: apt resolves and fetches for real, and reaches nobody. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { type Apt, openApt } from "./apt.ts";
import type { LockedPackage } from "./lock.ts";
import { fillCache, hashFile, openPackageCache, type PackageCache } from "./package-cache.ts";

const debian = {
  met: ["apt-get", "dpkg-deb"].every((program) => existsSync(`/usr/bin/${program}`)),
  reason: "there is no apt here",
};

describeWith([debian], "archives of a lock", () => {
  const signal = new AbortController().signal;
  let folder: string;
  let archive: string;
  let apt: Apt;
  let packages: LockedPackage[];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "casemate-archives-"));
    archive = join(folder, "archive");
    mkdirSync(archive);
    packages = [await pack("one"), await pack("two")];
    apt = await openSource();
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const cacheOf = (name: string): PackageCache => openPackageCache(join(folder, name));
  const fill = (cache: PackageCache, wanted = packages) =>
    fillCache(
      cache,
      wanted,
      () => Promise.resolve(apt),
      () => {},
    );
  async function openSource(): Promise<Apt> {
    const work = mkdtempSync(join(folder, "apt-"));
    const sources = join(work, "sources.list");
    writeFileSync(join(archive, "Packages"), execFileSync("sh", ["-c", `cat ${archive}/*.control`]));
    writeFileSync(sources, `deb [trusted=yes] copy:${archive} ./\n`);
    return openApt({ work, suite: "trixie", architecture: "amd64", sources, signal });
  }

  test("are fetched once; what is there is not asked for again", async () => {
    const cache = cacheOf("once");
    await fill(cache);
    expect(await cache.lacking(packages)).toEqual([]);
    const nobody = () => Promise.reject(new Error("asked"));
    await fillCache(cache, packages, nobody, () => {});
    expect(readdirSync(join(folder, "once")).sort()).toEqual(
      packages.map(({ sha256 }) => `${sha256}.deb`).sort(),
    );
  });

  test("with other bytes than the lock says are refused by name and hash, and do not stay", async () => {
    const cache = cacheOf("wrong");
    const other = { ...packages[1]!, sha256: "ab".repeat(32) };
    await expect(fill(cache, [packages[0]!, other])).rejects.toThrow(
      `two 1.0-1 is not what the lock says: it should be ${other.sha256}, and the sources gave ${packages[1]!.sha256}`,
    );
    expect(readdirSync(join(folder, "wrong"))).toEqual([`${packages[0]!.sha256}.deb`]);
  });

  test("that were changed on disk since they came are not used", async () => {
    const cache = cacheOf("changed");
    await fill(cache);
    const path = cache.path(packages[0]!);
    rmSync(path);
    writeFileSync(path, "other bytes");
    expect(await cache.lacking(packages)).toEqual([packages[0]]);
    await fill(cache);
    expect(await hashFile(path)).toBe(packages[0]!.sha256);
  });

  test("that the sources no longer have are named, with what to do", async () => {
    const gone = { ...packages[0]!, version: "0.9-1", sha256: "cd".repeat(32) };
    await expect(fill(cacheOf("gone"), [gone])).rejects.toThrow(/one 0.9-1 cannot be had .* renew the lock/);
  });

  /** Makes a package, and its entry of the index. */
  async function pack(name: string): Promise<LockedPackage> {
    const tree = join(folder, `tree-${name}`);
    mkdirSync(join(tree, "DEBIAN"), { recursive: true, mode: 0o755 });
    const control = `Package: ${name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: a test\n`;
    writeFileSync(join(tree, "DEBIAN", "control"), control);
    const path = join(archive, `${name}.deb`);
    execFileSync("/usr/bin/dpkg-deb", ["--build", "--root-owner-group", tree, path], { stdio: "ignore" });
    const { sha256, sizeBytes } = await cacheOf("made").add(path);
    writeFileSync(
      join(archive, `${name}.control`),
      `${control}Filename: ./${name}.deb\nSize: ${sizeBytes}\nSHA256: ${sha256}\n\n`,
    );
    return { use: "root", name, version: "1.0-1", architecture: "all", sha256, sizeBytes };
  }
});
