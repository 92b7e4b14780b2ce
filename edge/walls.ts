// SPDX-License-Identifier: Apache-2.0
/**
 * Whether models can be run behind walls here (confine/alone.ts), and what of this program they see there:
 * itself and the packages that it needs, never the agent's key, another model or the network.
 */
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { runAlone } from "../confine/alone.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const BUILT = import.meta.url.endsWith(".js");
/** All that the runner's program is made of: what it imports, and what that needs. */
const PACKAGES = {
  "onnxruntime-node": ["onnxruntime-common"],
  sharp: ["@img", "detect-libc", "semver"],
};
const TRIAL_MS = 20_000;

/** Null when they stand; else why not. */
export async function whyNoWalls(): Promise<string | null> {
  const ended = await runAlone({
    ...{ command: realpathSync(process.execPath), args: ["--version"], env: {}, cwd: "/" },
    ...{ readable: [realpathSync(process.execPath)], shown: {}, writable: {}, fileBytesMax: 0 },
    ...{ memoryMiB: 256, cpuSeconds: 10, timeoutMs: TRIAL_MS, input: "", onLine: () => {} },
    ...{ lineBytesMax: 1000, linesMax: 10, signal: new AbortController().signal },
  });
  if (ended.how === "ended") return null;
  if (ended.how === "unconfined") return ended.why;
  return `a trial ended with ${ended.how === "died" ? ended.words.trim().split("\n")[0] : ended.how}`;
}

/**
 * Packages are shown as if they lay beside one another, wherever they are: some installers keep each in a
 * place of its own, with links between them, and links lead nowhere behind walls.
 */
export function programFiles(): { readable: string[]; shown: Record<string, string> } {
  const own = BUILT
    ? [join(HERE, "..", "..")]
    : [HERE, join(HERE, "..", "models"), join(HERE, "..", "package.json")];
  const shown: Record<string, string> = {};
  for (const [name, needs] of Object.entries(PACKAGES)) {
    const found = nearest(HERE, name);
    if (found === null) throw new Error(`the package ${name} is not installed`);
    const real = realpathSync(found);
    shown[real] = found;
    for (const path of needs.map((each) => nearest(real, each)))
      for (const part of path === null ? [] : partsOf(path))
        shown[realpathSync(part)] = join(dirname(found), relative(modulesOf(part), part));
  }
  return { readable: [realpathSync(process.execPath), ...own], shown };
}

/** As node finds it: beside it or above. */
function nearest(from: string, name: string): string | null {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, "node_modules", name);
    if (existsSync(path)) return path;
    if (folder === dirname(folder)) return null;
  }
}

/** What begins with an at-sign is a folder of packages. */
const partsOf = (path: string): string[] =>
  basename(path).startsWith("@") ? readdirSync(path).map((name) => join(path, name)) : [path];

const modulesOf = (path: string): string => path.slice(0, path.lastIndexOf("node_modules") + 12);
