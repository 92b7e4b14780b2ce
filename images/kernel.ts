// SPDX-License-Identifier: Apache-2.0
/** Out of the kernel's package: the kernel itself, and the initramfs that is made of its modules and our agent. */
import { globSync, mkdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { cpioArchive } from "./cpio.ts";
import { orderModules } from "./modules.ts";
import { runTool } from "./program.ts";

export interface KernelFiles {
  release: string;
  kernel: Buffer;
  initrd: Buffer;
}

export async function makeKernelFiles(
  archive: string,
  wanted: readonly string[],
  agent: string,
  work: string,
  signal: AbortSignal,
): Promise<KernelFiles> {
  const tree = join(work, "kernel-package");
  mkdirSync(tree);
  await runTool("dpkg-deb", ["--extract", archive, tree], { signal });
  const [path, ...more] = globSync(join(tree, "boot", "vmlinuz-*"));
  if (path === undefined || more.length > 0) throw new Error("the kernel's package has not one kernel");
  const release = basename(path).slice("vmlinuz-".length);
  const modules = orderModules(join(tree, "usr/lib/modules", release), wanted);
  const initrd = cpioArchive([
    { path: "init", bytes: readFileSync(agent), mode: 0o755 },
    // The agent loads them in the order of their names.
    ...modules.map(({ name, bytes }, at) => ({
      path: `modules/${String(at).padStart(3, "0")}-${name}.ko`,
      bytes,
      mode: 0o644,
    })),
  ]);
  return { release, kernel: readFileSync(path), initrd };
}
