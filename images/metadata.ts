// SPDX-License-Identifier: Apache-2.0
/**
 * What is known of an image: `image.json` beside its files. It has every file's hash, what it was made from, and all that a
 * verifier needs to compute the values of a virtual TPM, or of TDX, before a machine is started. Equal inputs give an equal file to the
 * byte; who vouches for it is in `image.sig.json`.
 */
import { hash } from "node:crypto";
import type { BootFacts } from "#evidence/tpm/boot-events.ts";

export interface ImageFile {
  sha256: string;
  sizeBytes: number;
  /** What it was made from, in words. */
  from: string;
}

export interface ImageMetadata {
  v: 1;
  name: string;
  version: string;
  architecture: string;
  suite: string;
  epochS: number;
  /** Over everything that decides the bytes; equal inputs have an equal one. */
  inputs: { sha256: string; lock: string; recipe: string; agent: string };
  files: {
    /** Read-only erofs, its dm-verity tree right behind it: one disk, the machine's first. */
    "root.img": ImageFile;
    /** For firmware: kernel and initramfs in one. */
    "image.efi": ImageFile;
    /** For machines without firmware: the same two by themselves. */
    kernel: ImageFile;
    initrd: ImageFile;
    /** Every file of the root with hash and package. */
    "contents.json": ImageFile;
  };
  root: { hash: string; salt: string; blocks: number; blockBytes: number; algorithm: "sha256" };
  /** What evidence/tpm and evidence/tdx compute the registers of a boot from. */
  boot: BootFacts & {
    kernelRelease: string;
    /** Words before those of ours; the whole line is what `commandLine` answers. */
    commandLine: string;
  };
  /** Files of the root that no package brings; the agent is in `initrd`. */
  added: { path: string; sha256: string }[];
  packages: { name: string; version: string; sha256: string; use: string }[];
}

export const FILE_NAMES = ["root.img", "image.efi", "kernel", "initrd", "contents.json"] as const;

const HASH = /^[0-9a-f]{64}$/;

/**
 * The one command line this image is started with for a launch. A verifier computes PCR 9 and 12 from it: the agent refuses a
 * line that lacks one of these or has one twice, and nobody refuses what else an operator adds but the verifier.
 */
export function commandLine(
  { root, boot }: Pick<ImageMetadata, "root" | "boot">,
  launchSha256: string,
): string {
  if (!HASH.test(launchSha256)) throw new RangeError("the launch hash is 64 lower-case hexadecimal digits");
  return `${boot.commandLine} casemate.root=${root.hash} casemate.blocks=${root.blocks} casemate.launch=${launchSha256}`;
}

/** Without console output that nobody reads, and without waits for hardware that no machine of ours has. */
export const BASE_COMMAND_LINE =
  "console=ttyS0 quiet panic=-1 random.trust_cpu=on no_timer_check lpj=4000000";

export class MetadataFault extends Error {}

/** Only what a reader acts on is judged; the rest is covered by the signature. */
export function parseMetadata(text: string): ImageMetadata {
  let value: ImageMetadata;
  try {
    value = JSON.parse(text) as ImageMetadata;
  } catch (cause) {
    throw new MetadataFault("image.json is no JSON", { cause });
  }
  const require = (held: unknown, words: string) => {
    if (held !== true) throw new MetadataFault(`image.json: ${words}`);
  };
  require(typeof value === "object" && value?.v === 1, "v must be 1");
  require(/^[a-z0-9][a-z0-9-]{0,63}$/.test(String(value.name)), "name is not one");
  require(/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/.test(String(value.version)), "version is not one");
  for (const name of FILE_NAMES) {
    const file = value.files?.[name];
    require(HASH.test(String(file?.sha256)) &&
      Number.isSafeInteger(file?.sizeBytes), `files.${name} is not one`);
  }
  require(HASH.test(String(value.root?.hash)), "root.hash is not one");
  const { blocks } = value.root;
  require(Number.isSafeInteger(blocks) && blocks > 0 && blocks <= 2 ** 24, "root.blocks is not one");
  require(typeof value.boot?.commandLine === "string", "boot.commandLine is not one");
  require(!/casemate\./.test(value.boot.commandLine), "boot.commandLine has words of ours");
  return value;
}

export const metadataText = (metadata: ImageMetadata) => `${JSON.stringify(metadata, null, 1)}\n`;

export const metadataSha256 = (text: string) => hash("sha256", text, "hex");
