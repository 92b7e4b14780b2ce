// SPDX-License-Identifier: Apache-2.0
/**
 * A program of an npm lock file in a root tree. The lock has a hash of every package, so it decides the bytes, whichever registry they
 * come from; no package's script is run, neither here nor later. What npm writes of the registry that it asked is taken out again.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { runTool } from "../program.ts";

export interface NpmProgram {
  /** In the root. */
  folder: string;
  /** The text of package.json and of package-lock.json. */
  manifest: string;
  lock: string;
  /** Below `node_modules`: files by which a package's script, which is not run, would know that it was not. */
  marks: readonly string[];
}

export interface InstallAsk {
  program: NpmProgram;
  root: string;
  /** Of what was fetched before; kept. */
  cache: string;
  work: string;
  signal: AbortSignal;
}

export async function installNpmProgram({ program, root, cache, work, signal }: InstallAsk): Promise<void> {
  const folder = join(root, program.folder);
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of [
    ["package.json", program.manifest],
    ["package-lock.json", program.lock],
  ] as const)
    writeFileSync(join(folder, name), text);
  const settings = join(homedir(), ".npmrc");
  const registry = process.env.npm_config_registry;
  await runTool(
    "npm",
    ["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--cache", cache],
    {
      ...{ signal, cwd: folder },
      env: {
        HOME: work,
        // Where packages come from is the builder's; that they are the ones meant is the lock's.
        ...(existsSync(settings) && { npm_config_userconfig: settings }),
        ...(registry !== undefined && { npm_config_registry: registry }),
      },
    },
  );
  for (const left of [".package-lock.json", ".cache", ...program.marks])
    rmSync(join(folder, "node_modules", left), { recursive: true, force: true });
}
