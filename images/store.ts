// SPDX-License-Identifier: Apache-2.0
/**
 * Built images on this machine: `<folder>/<name>/<first digits of what it was made from>/`, and `current` beside them leads to
 * the last one that was built. A build appears whole or not at all: its folder is renamed into place.
 */
import { existsSync, globSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FILE_NAMES, type ImageMetadata, metadataSha256, parseMetadata } from "./metadata.ts";
import { hashFile } from "./package-cache.ts";

export const METADATA_FILE = "image.json";
export const SIGNATURE_FILE = "image.sig.json";

export interface BuiltImage {
  folder: string;
  metadata: ImageMetadata;
  metadataSha256: string;
  /** Not judged here: `imageSignatureFault` of evidence/images does. Null when it was not signed. */
  signature: unknown;
  current: boolean;
}

export const folderOf = (folder: string, name: string, inputsSha256: string) =>
  join(folder, name, inputsSha256.slice(0, 16));

/** Every image that is whole enough to be read. */
export function listImages(folder: string): BuiltImage[] {
  return globSync(join(folder, "*", "????????????????", METADATA_FILE))
    .sort()
    .flatMap((path) => {
      try {
        return [readImage(dirname(path))];
      } catch (error) {
        // A build that replaces it has just taken it away.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw error;
      }
    });
}

/** The one that was built last under a name, or undefined. */
export function findImage(folder: string, name: string): BuiltImage | undefined {
  return listImages(folder).find((image) => image.current && image.metadata.name === name);
}

export function readImage(folder: string): BuiltImage {
  const text = readFileSync(join(folder, METADATA_FILE), "utf8");
  const metadata = parseMetadata(text);
  const signed = join(folder, SIGNATURE_FILE);
  const signature = existsSync(signed) ? (JSON.parse(readFileSync(signed, "utf8")) as unknown) : null;
  const link = join(dirname(folder), "current");
  const current = existsSync(link) && existsSync(join(link, METADATA_FILE)) && same(link, folder);
  return { folder, metadata, metadataSha256: metadataSha256(text), signature, current };
}

const same = (link: string, folder: string) =>
  readFileSync(join(link, METADATA_FILE), "utf8") === readFileSync(join(folder, METADATA_FILE), "utf8");

/** The first file that is not what the metadata says, or null. */
export async function findAlteredFile({ folder, metadata }: BuiltImage): Promise<string | null> {
  for (const name of FILE_NAMES) {
    const path = join(folder, name);
    if (!existsSync(path) || (await hashFile(path)) !== metadata.files[name].sha256) return name;
  }
  return null;
}

export function makeCurrent(folder: string): void {
  const link = join(dirname(folder), "current");
  const beside = `${link}.new`;
  rmSync(beside, { force: true });
  symlinkSync(basename(folder), beside);
  renameSync(beside, link);
}
