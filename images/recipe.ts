// SPDX-License-Identifier: Apache-2.0
/**
 * What each image is made of, by name. The exact packages are in `<name>.lock.json` beside this file; here is what
 * they are resolved from when the lock is renewed, and what is left out of them.
 */
import pkg from "#package.json" with { type: "json" };

export interface Recipe {
  name: string;
  /** Semantic version: the release's, since the agent is the release's. */
  version: string;
  suite: string;
  architecture: "amd64";
  /** Installed in the root beside everything that Debian calls essential. */
  packages: readonly string[];
  /** The package whose one dependency is the current kernel. */
  kernelPackage: string;
  stubPackage: string;
  /** What compiles the agent; unpacked for that and left out of the image. */
  compilerPackages: readonly string[];
  /** Where the compiler's root lies in those. */
  compilerRoot: string;
  /** Loaded by the agent before it looks for the root; what they depend on comes along. */
  modules: readonly string[];
}

const BOOKWORM = {
  suite: "bookworm",
  architecture: "amd64",
  kernelPackage: "linux-image-cloud-amd64",
  stubPackage: "systemd-boot-efi",
  compilerPackages: ["golang-1.19-go", "golang-1.19-src"],
  compilerRoot: "usr/lib/go-1.19",
  modules: [
    ...["virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng"],
    ...["sha256-ssse3", "crc32c-intel", "dm-verity", "erofs", "overlay"],
    // For a state disk that is encrypted.
    ...["dm-crypt", "xts", "aesni-intel", "ecb"],
  ],
} as const;

export const RECIPES: Record<string, Recipe> = {
  base: {
    ...BOOKWORM,
    name: "base",
    version: pkg.version,
    // The second is what keeps apt from taking the Perl program that would merge /usr on an old system.
    packages: ["openssh-server", "usr-is-merged", "ca-certificates"],
  },
};

export function requireRecipe(name: string): Recipe {
  const recipe = Object.hasOwn(RECIPES, name) ? RECIPES[name] : undefined;
  if (recipe === undefined)
    throw new Error(`there is no image ${name}; there are: ${Object.keys(RECIPES).join(", ")}`);
  return recipe;
}

/** Folders whose bytes nobody in a guest reads. What is said of rights stays. */
export const LEFT_OUT = [
  "path-exclude=/usr/share/man/*",
  "path-exclude=/usr/share/info/*",
  "path-exclude=/usr/share/locale/*",
  "path-exclude=/usr/share/doc/*",
  "path-include=/usr/share/doc/*/copyright",
] as const;
