// SPDX-License-Identifier: Apache-2.0
/** What this program itself is made of: node, the packages of the lock file, and Debian's basic tools. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { apt, type Check, type Here, missing, ok, warning } from "./check.ts";
import { findOnPath, isProgram } from "./program.ts";

const NODE_MIN = 24;

/** By Debian package. All are on every Debian, and can be absent in a small container image. */
const TOOLS: Record<string, string[]> = {
  "util-linux": ["flock", "mount", "nsenter", "prlimit", "setpriv", "umount"],
  coreutils: ["cp", "env", "rm", "sleep"],
  tar: ["tar"],
};

const node: Check = {
  id: "node",
  group: "node and packages",
  name: "node",
  needed: ["sessions", "workloads"],
  timeoutMs: 1_000,
  look: async () => {
    const major = Number(process.versions.node.split(".")[0]);
    return major >= NODE_MIN
      ? ok(`${process.version} at ${process.execPath}`)
      : missing(`${process.version}, and ${NODE_MIN} is the least; npm ci brings a pinned one`, "npm ci");
  },
};

const packages: Check = {
  id: "packages",
  group: "node and packages",
  name: "packages",
  needed: ["sessions", "workloads"],
  timeoutMs: 2_000,
  look: async (here) => {
    const wanted = createHash("sha256")
      .update(readFileSync(join(here.program, "package-lock.json")))
      .digest("hex");
    const installed = read(join(here.program, "node_modules/.casemate-installed"));
    if (installed === wanted) return ok("as package-lock.json has them");
    // Installed by hand, or for another commit: it may do, and the next start installs again.
    return read(join(here.program, "node_modules/.package-lock.json")) === null
      ? missing("not installed", `cd ${here.program} && npm ci`)
      : warning("not those of package-lock.json; the next ./casemate installs them", "./casemate help");
  },
};

const tools: Check = {
  id: "tools",
  group: "node and packages",
  name: "basic tools",
  needed: ["sessions", "workloads"],
  timeoutMs: 1_000,
  look: async (here) => {
    const absent = Object.entries(TOOLS).flatMap(([pack, names]) =>
      names.filter((name) => findOnPath(here, name) === null).map((name) => [pack, name] as const),
    );
    if (absent.length === 0) return ok(Object.values(TOOLS).flat().join(", "));
    const packs = [...new Set(absent.map(([pack]) => pack))];
    return missing(`no ${absent.map(([, name]) => name).join(", ")}`, apt(here, ...packs));
  },
};

/** Started by its full path, wherever PATH leads. */
const perl: Check = {
  id: "perl",
  group: "node and packages",
  name: "perl-base",
  needed: ["sessions"],
  timeoutMs: 1_000,
  look: async (here) =>
    at(here, "/usr/bin/perl", "perl-base", "enters sandboxes and starts programs for the host"),
};

/** Sessions run without it; what people send is mostly Python. */
const python: Check = {
  id: "python",
  group: "node and packages",
  name: "python3",
  needed: [],
  timeoutMs: 1_000,
  look: async (here) => at(here, "/usr/bin/python3", "python3", "for commands of sessions"),
};

const at = (here: Here, path: string, pack: string, why: string) =>
  isProgram(here.root + path)
    ? ok(`${path}, ${why}`)
    : missing(`not at ${path}; it is ${why}`, apt(here, pack));

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}

export const PACKAGES: readonly Check[] = [node, packages, tools, perl, python];
