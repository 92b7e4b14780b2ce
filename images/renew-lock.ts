// SPDX-License-Identifier: Apache-2.0
/** Makes a lock of what the package sources have today, every archive's signature checked by apt on the way. */
import type { Apt } from "./apt.ts";
import { type ImageLock, type LockedPackage, lockText, parseLock } from "./lock.ts";
import type { PackageCache } from "./package-cache.ts";
import { runTool } from "./program.ts";
import type { Recipe } from "./recipe.ts";

const DAY_S = 86_400;

export async function renewLock(
  recipe: Recipe,
  apt: Apt,
  cache: PackageCache,
  nowMs: number,
  signal: AbortSignal,
): Promise<ImageLock> {
  const packages: LockedPackage[] = [];
  const take = async (use: LockedPackage["use"], paths: readonly string[]) => {
    for (const path of paths) {
      const fields = await runTool("dpkg-deb", ["--field", path, "Package", "Version", "Architecture"], {
        signal,
      });
      const value = (field: string) => new RegExp(`^${field}: (.+)$`, "m").exec(fields)?.[1] ?? "";
      const [name, version, architecture] = ["Package", "Version", "Architecture"].map(value) as [
        string,
        string,
        string,
      ];
      packages.push({ use, name, version, architecture, ...(await cache.add(path)) });
    }
  };
  // Without apt itself, which Debian does not call essential and its resolver does.
  const essential = "?and(?essential,?not(?exact-name(apt)))";
  await take("root", await apt.resolve([essential, ...recipe.packages]));
  await take("kernel", await apt.download([await kernelOf(recipe, apt)]));
  await take("stub", await apt.download([recipe.stubPackage]));
  await take("compiler", await apt.download(recipe.compilerPackages));
  const { name: image, suite, architecture } = recipe;
  const epochS = Math.floor(nowMs / 1000 / DAY_S) * DAY_S;
  // What is written is what a build will accept.
  return parseLock(lockText({ v: 1, image, suite, architecture, epochS, packages }), image);
}

async function kernelOf({ kernelPackage }: Recipe, apt: Apt): Promise<string> {
  const depends = await apt.dependsOf(kernelPackage);
  const [, name, version] = /(?:^|, )(linux-image-[a-z0-9.+-]+) \(= ([^)]+)\)/.exec(depends) ?? [];
  if (name === undefined) throw new Error(`${kernelPackage} names no kernel: ${depends}`);
  return `${name}=${version}`;
}
