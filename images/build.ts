// SPDX-License-Identifier: Apache-2.0
/**
 * Makes an image from its lock file. Everything that decides a byte is in the lock, the recipe and the agent's source; the machine
 * that builds gives programs and a place. Equal inputs are not built twice.
 *
 * Steps: archives (fetched, each held against its hash) → agent → root tree → file system and hash tree → kernel, initramfs and
 * the file for firmware → metadata, signed → renamed into place.
 */
import { hash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { bootFactsOf } from "#evidence/tpm/expected.ts";
import { openApt } from "./apt.ts";
import { agentSourceSha256, compileAgent } from "./compile-agent.ts";
import { listContents } from "./contents.ts";
import { makeKernelFiles } from "./kernel.ts";
import { type ImageLock, lockText } from "./lock.ts";
import { BASE_COMMAND_LINE, type ImageMetadata, metadataSha256, metadataText } from "./metadata.ts";
import { fillCache, hashFile, type PackageCache } from "./package-cache.ts";
import { runTool } from "./program.ts";
import type { OnStep } from "./progress.ts";
import { LEFT_OUT, type Recipe } from "./recipe.ts";
import { makeRootTree } from "./root-tree.ts";
import {
  type BuiltImage,
  findAlteredFile,
  folderOf,
  METADATA_FILE,
  makeCurrent,
  readImage,
  SIGNATURE_FILE,
} from "./store.ts";
import { assembleUki } from "./uki.ts";
import { BLOCK_BYTES, SALT, verityTree } from "./verity.ts";

/** Raised when this file makes other bytes of the same inputs. */
const BUILDER = 3;
const STEPS = 7;

export interface BuildOptions {
  recipe: Recipe;
  lock: ImageLock;
  /** Where images and their archives lie. */
  folder: string;
  cache: PackageCache;
  /** An apt sources list instead of the machine's. */
  sources?: string;
  /** Signs the hash of the metadata; answers what goes into `image.sig.json`. */
  sign: (metadataSha256: string) => Promise<object>;
  onStep: OnStep;
  signal: AbortSignal;
}

export async function buildImage(options: BuildOptions): Promise<{ image: BuiltImage; built: boolean }> {
  const { recipe, lock, folder, sign } = options;
  if (lock.suite !== recipe.suite || lock.architecture !== recipe.architecture || lock.image !== recipe.name)
    throw new Error(`the lock of ${lock.image} is for another suite or architecture: renew it`);
  const inputs = inputsOf(recipe, lock);
  const place = folderOf(folder, recipe.name, inputs.sha256);
  if (existsSync(join(place, METADATA_FILE))) {
    const image = readImage(place);
    if (image.metadata.inputs.sha256 === inputs.sha256 && (await findAlteredFile(image)) === null) {
      makeCurrent(place);
      return { image: readImage(place), built: false };
    }
  }
  mkdirSync(join(folder, recipe.name), { recursive: true });
  const work = mkdtempSync(join(folder, ".work-"));
  try {
    const out = join(work, "image");
    mkdirSync(out);
    for (const each of [out, join(folder, recipe.name)]) chmodSync(each, 0o755);
    const text = metadataText(await makeFiles(options, inputs, work, out));
    write(out, METADATA_FILE, text);
    write(out, SIGNATURE_FILE, `${JSON.stringify(await sign(metadataSha256(text)), null, 1)}\n`);
    // One that was altered, or is of a half build.
    rmSync(place, { recursive: true, force: true });
    renameSync(out, place);
    makeCurrent(place);
    return { image: readImage(place), built: true };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function inputsOf(recipe: Recipe, lock: ImageLock): ImageMetadata["inputs"] {
  const parts = {
    lock: hash("sha256", lockText(lock)),
    recipe: hash("sha256", JSON.stringify([recipe, LEFT_OUT, BASE_COMMAND_LINE])),
    agent: agentSourceSha256(),
  };
  return { sha256: hash("sha256", JSON.stringify([BUILDER, parts])), ...parts };
}

async function makeFiles(
  options: BuildOptions,
  inputs: ImageMetadata["inputs"],
  work: string,
  out: string,
): Promise<ImageMetadata> {
  const { recipe, lock, cache, signal, onStep } = options;
  let number = 0;
  let words = "";
  const part = (done: number | null) => onStep({ number, of: STEPS, words, part: done });
  const step = (text: string) => {
    signal.throwIfAborted();
    number++;
    words = text;
    part(null);
  };
  const archives = (use: string) => lock.packages.filter((each) => each.use === use).map(cache.path);
  const one = (use: string) => archives(use)[0]!;

  step("packages");
  await fillCache(
    cache,
    lock.packages,
    () => openSource(options, work),
    (done, of) => part(done / of),
  );
  step("guest agent");
  const agent = await compileAgent({ archives: archives("compiler"), recipe, work, signal });
  step("root of Debian's packages");
  const expected = 2 * archives("root").length;
  let handled = 0;
  const onLine = (line: string) => {
    if (/^(Unpacking|Setting up) /.test(line)) part(Math.min(1, ++handled / expected));
  };
  const tree = await makeRootTree({ lock, recipe, cache, work, signal, onLine });
  step("list of every file");
  const contents = await listContents(tree, Object.keys(recipe.files));
  write(out, "contents.json", `[\n${contents.map((each) => JSON.stringify(each)).join(",\n")}\n]\n`);
  step("file system and its hash tree");
  const root = await makeRootImage(tree, lock, inputs, work, signal);
  write(out, "root.img", Buffer.concat([root.data, root.tree]));
  step("kernel and initramfs");
  const files = await makeKernelFiles(one("kernel"), recipe.modules, agent, work, signal);
  write(out, "kernel", files.kernel);
  write(out, "initrd", files.initrd);
  const stub = await stubOf(one("stub"), work, signal);
  const uki = assembleUki(stub, { ".linux": files.kernel, ".initrd": files.initrd });
  write(out, "image.efi", uki);
  step("hashes and signature");
  const from = (use: string) =>
    lock.packages
      .filter((each) => each.use === use)
      .map(({ name, version }) => `${name} ${version}`)
      .join(", ");
  const initrdFrom = `guest/agent compiled by ${from("compiler")}; modules of ${from("kernel")}`;
  return {
    v: 1,
    name: recipe.name,
    version: recipe.version,
    architecture: lock.architecture,
    suite: lock.suite,
    epochS: lock.epochS,
    inputs,
    files: {
      "root.img": await fileOf(out, "root.img", `${archives("root").length} packages with use root`),
      "image.efi": await fileOf(out, "image.efi", `${from("stub")}; kernel; initrd`),
      kernel: await fileOf(out, "kernel", from("kernel")),
      initrd: await fileOf(out, "initrd", initrdFrom),
      "contents.json": await fileOf(out, "contents.json", "the files of root.img"),
    },
    root: {
      ...{ hash: root.rootHash, salt: SALT.toString("hex"), blocks: root.blocks },
      ...{ blockBytes: BLOCK_BYTES, algorithm: "sha256" },
    },
    boot: {
      kernelRelease: files.release,
      commandLine: BASE_COMMAND_LINE,
      ...(await bootFactsOf(uki)),
    },
    added: Object.entries(recipe.files).map(([path, text]) => ({
      path: `/${path}`,
      sha256: hash("sha256", text),
    })),
    packages: lock.packages.map(({ name, version, sha256, use }) => ({ name, version, sha256, use })),
  };
}

function openSource({ recipe, sources, signal }: BuildOptions, work: string) {
  const own = join(work, "apt");
  mkdirSync(own);
  const { suite, architecture } = recipe;
  return openApt({ work: own, suite, architecture, signal, ...(sources !== undefined && { sources }) });
}

async function makeRootImage(
  tree: string,
  lock: ImageLock,
  inputs: ImageMetadata["inputs"],
  work: string,
  signal: AbortSignal,
) {
  const file = join(work, "root.erofs");
  const uuid = inputs.lock.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, "$1-$2-5$3-8$4-$5");
  // Extended attributes are left out: a folder on another file system would bring other ones along.
  const args = ["-zlz4hc", `-T${lock.epochS}`, `-U${uuid}`, "-x-1", file, tree];
  await runTool("mkfs.erofs", args, { signal });
  const data = readFileSync(file);
  const whole = Buffer.concat([
    data,
    Buffer.alloc((BLOCK_BYTES - (data.length % BLOCK_BYTES)) % BLOCK_BYTES),
  ]);
  return { data: whole, ...verityTree(whole) };
}

async function stubOf(archive: string, work: string, signal: AbortSignal): Promise<Buffer> {
  const tree = join(work, "stub-package");
  mkdirSync(tree);
  await runTool("dpkg-deb", ["--extract", archive, tree], { signal });
  return readFileSync(join(tree, "usr/lib/systemd/boot/efi/linuxx64.efi.stub"));
}

async function fileOf(out: string, name: string, from: string) {
  const path = join(out, name);
  return { sha256: await hashFile(path), sizeBytes: readFileSync(path).length, from };
}

/** Readable by whoever runs machines; there is no secret in an image. */
function write(folder: string, name: string, bytes: string | Uint8Array): void {
  writeFileSync(join(folder, name), bytes);
  chmodSync(join(folder, name), 0o644);
}
