// SPDX-License-Identifier: Apache-2.0
/**
 * Archives of packages on this machine, each under its own hash. What is taken out is hashed again: the folder is the state
 * folder's, and a disk or somebody with rights on it may have changed a file since it came.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, linkSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Apt } from "./apt.ts";
import type { LockedPackage } from "./lock.ts";

export interface PackageCache {
  /** Takes a file in, answers its hash and size. */
  add(path: string): Promise<{ sha256: string; sizeBytes: number }>;
  /** Those of the lock that are not there, or are not what the lock says. */
  lacking(packages: readonly LockedPackage[]): Promise<LockedPackage[]>;
  path(each: Pick<LockedPackage, "sha256">): string;
}

export function openPackageCache(folder: string): PackageCache {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const path = ({ sha256 }: Pick<LockedPackage, "sha256">) => join(folder, `${sha256}.deb`);
  return {
    path,
    add: async (from) => {
      const sha256 = await hashFile(from);
      const to = path({ sha256 });
      const beside = `${to}.${process.pid}.new`;
      rmSync(beside, { force: true });
      try {
        linkSync(from, beside);
      } catch {
        await copyFile(from, beside);
      }
      renameSync(beside, to);
      return { sha256, sizeBytes: statSync(to).size };
    },
    lacking: async (packages) => {
      const lacking: LockedPackage[] = [];
      for (const each of packages)
        if (!existsSync(path(each)) || (await hashFile(path(each))) !== each.sha256) lacking.push(each);
      return lacking;
    },
  };
}

/** In one call of apt, which reads all of its lists each time. */
const TOGETHER = 24;

/** Brings the cache to what the lock says; what a source gives under the same name and version with other bytes is refused. */
export async function fillCache(
  cache: PackageCache,
  packages: readonly LockedPackage[],
  openSource: () => Promise<Pick<Apt, "download">>,
  onPackage: (done: number, of: number) => void,
): Promise<void> {
  const lacking = await cache.lacking(packages);
  if (lacking.length === 0) return;
  const source = await openSource();
  for (let done = 0; done < lacking.length; done += TOGETHER) {
    onPackage(done, lacking.length);
    const part = lacking.slice(done, done + TOGETHER);
    const paths = await source
      .download(part.map(({ name, version }) => `${name}=${version}`))
      // Together nobody is told which of them it was.
      .catch(async () => (await Promise.all(part.map((each) => downloadOne(source, each)))).flat());
    const found = new Map<string, string>();
    for (const path of paths) found.set(await hashFile(path), path);
    for (const each of part) {
      const path = found.get(each.sha256);
      if (path === undefined) throw notTheLocks(each, found);
      await cache.add(path);
    }
  }
  onPackage(lacking.length, lacking.length);
}

async function downloadOne(
  source: Pick<Apt, "download">,
  { name, version }: LockedPackage,
): Promise<string[]> {
  return source.download([`${name}=${version}`]).catch((cause) => {
    throw new Error(
      `${name} ${version} cannot be had from the package sources: renew the lock (casemate images lock), or give --sources that still have it`,
      { cause },
    );
  });
}

function notTheLocks({ name, version, sha256 }: LockedPackage, found: ReadonlyMap<string, string>): Error {
  const given = [...found].find(([, path]) => basename(path).startsWith(`${name}_`))?.[0] ?? "nothing";
  return new Error(
    `${name} ${version} is not what the lock says: it should be ${sha256}, and the sources gave ${given}`,
  );
}

export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
