// SPDX-License-Identifier: Apache-2.0
/**
 * apt's own client with lists and caches of one build alone: of the machine it knows the address of its Debian mirror and nothing
 * else, and it sees a computer on which nothing is installed. Of what the sources offer it takes Debian's of one suite only.
 */
import { globSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { runTool } from "./program.ts";
import { debianSources, TARGET_FORMAT } from "./sources.ts";

export interface Apt {
  /** Archives of these and of all that they need, on an empty machine; paths. */
  resolve(packages: readonly string[]): Promise<string[]>;
  /** Archives of just these, each `name` or `name=version`; paths. */
  download(packages: readonly string[]): Promise<string[]>;
  /** What the current version of a package depends on, as it says it. */
  dependsOf(name: string): Promise<string>;
}

export interface AptOptions {
  /** An empty folder. */
  work: string;
  suite: string;
  architecture: string;
  /** A sources list instead of the one that is made. Then all that it offers is taken, whoever signed it for whichever suite. */
  sources?: string;
  signal: AbortSignal;
  onLine?: (line: string) => void;
}

export async function openApt({
  work,
  suite,
  architecture,
  sources,
  signal,
  onLine,
}: AptOptions): Promise<Apt> {
  for (const part of ["lists/partial", "archives/partial"]) mkdirSync(join(work, part), { recursive: true });
  writeFileSync(join(work, "status"), "");
  writeFileSync(
    join(work, "preferences"),
    sources === undefined
      ? `Package: *\nPin: release o=Debian,n=${suite}*\nPin-Priority: 990\n\nPackage: *\nPin: release o=*\nPin-Priority: -1\n`
      : "",
  );
  const list = sources === undefined ? join(work, "sources.list") : resolve(sources);
  if (sources === undefined) {
    const asked = ["indextargets", "--no-release-info", "--format", TARGET_FORMAT];
    writeFileSync(list, debianSources(suite, await runTool("apt-get", asked, { signal, cwd: work })));
  }
  const settings = Object.entries({
    "Dir::State::status": join(work, "status"),
    "Dir::State::lists": join(work, "lists"),
    "Dir::Cache": work,
    "Dir::Cache::archives": join(work, "archives"),
    "Dir::Etc::preferences": join(work, "preferences"),
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::Etc::sourcelist": list,
    "Dir::Etc::sourceparts": "-",
    "APT::Architecture": architecture,
    "APT::Architectures": architecture,
    "APT::Sandbox::User": "",
    "APT::Install-Recommends": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
    "Debug::NoLocking": "true",
  }).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  const env = { DEBIAN_FRONTEND: "noninteractive", HOME: work };
  const follow = onLine === undefined ? {} : { onLine };
  const call = (program: string, args: readonly string[], cwd = work) =>
    runTool(program, [...settings, ...args], { signal, cwd, env, ...follow });
  await call("apt-get", ["-q", "update"]);
  return {
    resolve: async (packages) => {
      await call("apt-get", ["-q", "-y", "--download-only", "install", ...packages]);
      return globSync(join(work, "archives", "*.deb")).sort();
    },
    download: async (packages) => {
      const chosen = mkdtempSync(join(work, "chosen-"));
      await call("apt-get", ["-q", "download", ...packages], chosen);
      return globSync(join(chosen, "*.deb")).sort();
    },
    dependsOf: async (name) => {
      const shown = await call("apt-cache", ["show", "--no-all-versions", name]);
      return /^Depends: (.*)$/m.exec(shown)?.[1] ?? "";
    },
  };
}
