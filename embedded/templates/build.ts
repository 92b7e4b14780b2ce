// SPDX-License-Identifier: Apache-2.0
/**
 * Makes a root template from Debian packages: apt resolves and fetches them as for an empty machine, with
 * its own signatures and with lists and caches of this build alone; they are unpacked, and none of their
 * scripts is run. Nothing of this machine gets in but the names of its package sources.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { writeNames } from "#drivers/sandbox/skeleton.ts";
import { digestTree, type Template } from "#drivers/sandbox/template.ts";

/** What a session's first process and ordinary commands need. */
export const BASE_PACKAGES =
  "base-files dash coreutils findutils grep sed mawk tar gzip libc-bin perl-base".split(" ");
const KNOWN: Record<string, string[]> = { base: [], python: ["python3"] };

export interface TemplateBuild {
  name: string;
  /** Beside the base; empty: those that the name stands for. */
  packages: readonly string[];
  /** The template becomes `<folder>/<name>`. */
  folder: string;
  /** An apt sources list to use instead of the machine's. */
  sources?: string;
}

export async function buildTemplate({ name, packages, folder, sources }: TemplateBuild): Promise<Template> {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(name)) throw new Error(`${name} is no name for a template`);
  const wanted = packages.length > 0 ? packages : KNOWN[name];
  if (!wanted)
    throw new Error(
      `say which packages ${name} is made of; known by name are ${Object.keys(KNOWN).join(", ")}`,
    );
  const strange = wanted.find((each) => !/^[a-z0-9][a-z0-9+.:-]+$/.test(each));
  if (strange !== undefined) throw new Error(`${strange} is no name of a package`);
  const path = join(resolve(folder), name);
  if (existsSync(path)) throw new Error(`${path} is there already`);
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  // Each sandbox is started by a uid of its own, which reaches it by this way.
  for (let at = resolve(folder); ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0)
      throw new Error(`${at} cannot be entered by every user; choose another folder`);
    if (at === dirname(at)) break;
  }
  const work = mkdtempSync(join(resolve(folder), `.${name}-`));
  try {
    const root = join(work, "root");
    for (const part of ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "etc"])
      mkdirSync(join(root, part), { recursive: true, mode: 0o755 });
    for (const part of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${part}`, join(root, part));
    for (const archive of fetchPackages(work, [...BASE_PACKAGES, ...wanted], sources)) unpack(archive, root);
    finish(root);
    const digest = await digestTree(root);
    renameSync(root, path);
    return { path, digest };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function fetchPackages(work: string, packages: readonly string[], sources: string | undefined): string[] {
  for (const part of ["lists/partial", "archives/partial"]) mkdirSync(join(work, part), { recursive: true });
  // An empty machine: everything that is needed has to come.
  writeFileSync(join(work, "status"), "");
  const options = {
    "Dir::State::status": join(work, "status"),
    "Dir::State::lists": join(work, "lists"),
    "Dir::Cache": work,
    "Dir::Cache::archives": join(work, "archives"),
    "APT::Sandbox::User": "",
    "APT::Install-Recommends": "false",
    "Debug::NoLocking": "true",
    ...(sources !== undefined && { "Dir::Etc::sourcelist": resolve(sources), "Dir::Etc::sourceparts": "-" }),
  };
  const settings = Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  run("apt-get", ["-qq", ...settings, "update"]);
  run("apt-get", ["-qq", "-y", ...settings, "--download-only", "install", ...packages]);
  const archives = globSync(join(work, "archives", "*.deb")).sort();
  const names = new Set(archives.map((archive) => basename(archive).split("_")[0]));
  const missing = packages.filter((each) => !names.has(each.split(":")[0]));
  // apt reads packages of a `file:` source in place.
  if (missing.length > 0)
    throw new Error(`not fetched: ${missing.join(", ")}; a source on disk is written copy:, not file:`);
  return archives;
}

/** Owners and rights beyond reading and running are this machine's business and are left out. */
function unpack(archive: string, root: string): void {
  const extract = `umask 022; dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink --no-same-owner --no-same-permissions`;
  run("bash", ["-o", "pipefail", "-c", extract, "bash", archive, root]);
}

/** What the packages' scripts would have done, as far as a session needs it. */
function finish(root: string): void {
  writeNames(join(root, "etc"));
  const link = (target: string, at: string) => {
    if (existsSync(join(root, "usr/bin", target)) && !existsSync(join(root, at)))
      symlinkSync(`/usr/bin/${target}`, join(root, at));
  };
  link("python3", "usr/local/bin/python");
  link("mawk", "usr/bin/awk");
  link("dash", "usr/bin/sh");
  rmSync(join(root, "var"), { recursive: true, force: true });
}

function run(command: string, args: string[]): void {
  const env = { PATH: process.env.PATH, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" };
  const ran = spawnSync(command, args, { env, stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
  if (ran.status === 0) return;
  throw new Error(
    `${command}: ${ran.error?.message ?? (ran.stderr.trim().split("\n").at(-1) || `ended with ${ran.status}`)}`,
  );
}
