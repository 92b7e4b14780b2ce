// SPDX-License-Identifier: Apache-2.0
/** `casemate images …`: images of virtual machines, made of Debian packages. Progress goes to standard error, the outcome to standard output. */
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { issuersOf, withSigner } from "#embedded/images/signing.ts";
import { usedImages } from "#embedded/images/used.ts";
import { lockFolder } from "#embedded/lock.ts";
import { imageSignatureFault } from "#evidence/images/signature.ts";
import { openApt } from "#images/apt.ts";
import { buildImage } from "#images/build.ts";
import { lockText, parseLock } from "#images/lock.ts";
import { openPackageCache } from "#images/package-cache.ts";
import { showProgress } from "#images/progress.ts";
import { pruneImages } from "#images/prune.ts";
import { requireRecipe } from "#images/recipe.ts";
import { renewLock } from "#images/renew-lock.ts";
import { type BuiltImage, findAlteredFile, listImages } from "#images/store.ts";
import { lackingForBuild } from "#images/tools.ts";
import { callAdmin, type Target } from "./operate.ts";

interface ImagesCommand {
  state: string;
  sources?: string;
  /** Another lock file than the one of this release. */
  lock?: string;
  json?: boolean;
}

const lockFileOf = (name: string) => new URL(`../images/${name}.lock.json`, import.meta.url).pathname;

export async function buildImageCommand(name: string, options: ImagesCommand): Promise<number> {
  const recipe = requireRecipe(name);
  const lacking = lackingForBuild(process.getuid?.() ?? -1);
  if (lacking !== null) throw new Error(lacking);
  const lock = parseLock(readFileSync(options.lock ?? lockFileOf(name), "utf8"), name);
  return alone(options.state, async (folder, signal) => {
    const progress = showProgress(process.stderr);
    const { image, built } = await buildImage({
      ...{ recipe, lock, folder, signal, onStep: progress.onStep },
      cache: openPackageCache(join(folder, "packages")),
      sign: (sha256) => withSigner(resolve(options.state), (signer) => signer.signImage(sha256)),
      ...(options.sources !== undefined && { sources: options.sources }),
    }).finally(() => progress.end());
    const { metadata } = image;
    if (options.json) print(describe(image, null));
    else
      process.stdout.write(
        `${image.folder}: ${metadata.name} ${metadata.version}, ${built ? "built" : "built before"}\nroot hash ${metadata.root.hash}\nmetadata  ${image.metadataSha256}\n`,
      );
    return 0;
  });
}

/** Makes the lock anew of what the sources have now. The file is the repository's: what changed is for somebody to read. */
export async function lockImageCommand(name: string, options: ImagesCommand): Promise<number> {
  const recipe = requireRecipe(name);
  const file = options.lock ?? lockFileOf(name);
  return alone(options.state, async (folder, signal) => {
    const work = mkdtempSync(join(folder, ".lock-"));
    try {
      const { suite, architecture } = recipe;
      const sources = options.sources === undefined ? {} : { sources: options.sources };
      const apt = await openApt({ work, suite, architecture, signal, ...sources });
      const cache = openPackageCache(join(folder, "packages"));
      const lock = await renewLock(recipe, apt, cache, Date.now(), signal);
      writeFileSync(`${file}.new`, lockText(lock));
      renameSync(`${file}.new`, file);
      if (options.json) print({ file, packages: lock.packages.length });
      else process.stdout.write(`written ${file}: ${lock.packages.length} packages\n`);
      return 0;
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
}

/** Exit 1 when a file of one is not what it was, or nobody we know vouches for it. */
export async function listImagesCommand({ state, json = false }: ImagesCommand): Promise<number> {
  const images = listImages(join(resolve(state), "images"));
  const issuers = images.length === 0 ? [] : await issuersOf(resolve(state));
  let bad = 0;
  for (const image of images) {
    const fault =
      imageSignatureFault(image.signature, image.metadataSha256, issuers) ?? (await alterationOf(image));
    if (fault !== null) bad++;
    const { name, version } = image.metadata;
    if (json) print(describe(image, fault));
    else
      process.stdout.write(
        `${image.current ? "*" : " "} ${name} ${version}  ${image.folder}  ${fault === null ? "ok" : fault}\n`,
      );
  }
  if (images.length === 0 && !json)
    process.stdout.write("no image was built here: casemate images build containers, and base\n");
  return bad === 0 ? 0 : 1;
}

/** Control is asked before anything goes: `--url` and `--key`, or what runs on the state folder. */
export async function pruneImagesCommand(target: Target): Promise<number> {
  const state = resolve(target.state);
  const asked = target.url !== undefined || existsSync(join(state, "admin.key"));
  const ask = () => callAdmin({ ...target, state }, "GET", "/platform/v1/guest-images");
  return alone(state, async (folder) => {
    const gone = pruneImages(folder, await usedImages(state, asked ? ask : null));
    for (const image of gone)
      if (target.json) print(describe(image, null));
      else
        process.stdout.write(`removed ${image.folder}: ${image.metadata.name} ${image.metadata.version}\n`);
    return 0;
  });
}

async function alterationOf(image: BuiltImage): Promise<string | null> {
  const name = await findAlteredFile(image);
  return name === null ? null : `${name} is not what it was`;
}

function describe({ folder, metadata, metadataSha256, current }: BuiltImage, fault: string | null) {
  const { name, version, root, files } = metadata;
  return { name, version, folder, current, fault, metadataSha256, rootHash: root.hash, files };
}

const print = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** One build at a time on a state folder; a signal ends the programs it has started and takes its half away. */
async function alone<T>(
  state: string,
  work: (folder: string, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const folder = join(resolve(state), "images");
  mkdirSync(folder, { recursive: true });
  // Machines are run by another user.
  chmodSync(folder, 0o755);
  const lock = lockFolder(join(folder, "lock"));
  // Of one that was killed: nobody else is at work here while we have the lock.
  for (const half of globSync(".{work,lock}-*", { cwd: folder }))
    rmSync(join(folder, half), { recursive: true, force: true });
  const stop = new AbortController();
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const stopped = (name: string) => stop.abort(new Error(`stopped by ${name}`));
  for (const name of signals) process.on(name, stopped);
  try {
    return await work(folder, stop.signal);
  } finally {
    for (const name of signals) process.off(name, stopped);
    lock.release();
  }
}
