// SPDX-License-Identifier: Apache-2.0
/**
 * The image for workloads, for tests that boot it: built from this computer's package sources once and kept beside the dependencies,
 * until its recipe or the agent changes. The lock is made here too: what the committed one names may be gone from the sources.
 */
import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { requireRecipe } from "#images/recipe.ts";
import { type BuiltImage, findImage } from "#images/store.ts";
import { lackingForBuild } from "#images/tools.ts";
import { oneAtATime } from "./one-at-a-time.ts";
import type { Requirement } from "./requirements.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const CACHE = join(ROOT, "node_modules/.cache/casemate-images");
/** As long as a slow machine with much else to do may take. */
export const IMAGE_MS = 900_000;

const lacking = lackingForBuild(process.getuid?.() ?? -1);
export const workloadImage: Requirement = {
  met: process.arch === "x64" && lacking === null,
  reason: lacking ?? "needs x86-64",
};

const built = new Map<string, Promise<BuiltImage>>();

export const buildWorkloadImage = (): Promise<BuiltImage> => buildTestImage("containers");

/** The same of another flavour. */
export function buildTestImage(name: string): Promise<BuiltImage> {
  const building = built.get(name) ?? oneAtATime(CACHE, IMAGE_MS, () => build(name));
  built.set(name, building);
  return building;
}

async function build(name: string): Promise<BuiltImage> {
  mkdirSync(CACHE, { recursive: true });
  const recipe = hash("sha256", JSON.stringify(requireRecipe(name))).slice(0, 16);
  const lock = join(CACHE, `${name}-${recipe}.lock.json`);
  const casemate = (args: string[]) =>
    promisify(execFile)(join(ROOT, "casemate"), ["images", ...args, "--state", CACHE], { timeout: IMAGE_MS });
  if (!existsSync(lock)) {
    // Whole or not at all.
    await casemate(["lock", name, "--lock", `${lock}.new`]);
    renameSync(`${lock}.new`, lock);
  }
  await casemate(["build", name, "--lock", lock]);
  return findImage(join(CACHE, "images"), name)!;
}
