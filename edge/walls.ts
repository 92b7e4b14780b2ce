// SPDX-License-Identifier: Apache-2.0
/**
 * Whether models can be run behind walls here (confine/alone.ts), and what of this program they see there:
 * itself and the packages that it needs, never the agent's key, another model or the network.
 */
import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runAlone } from "../confine/alone.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const BUILT = import.meta.url.endsWith(".js");
/** All that the runner's program is made of. */
const PACKAGES = [
  ...["onnxruntime-node", "onnxruntime-common"],
  ...["sharp", "@img", "detect-libc", "semver"],
];
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

export function programFiles(): string[] {
  const own = BUILT
    ? [join(HERE, "..", "..")]
    : [HERE, join(HERE, "..", "models"), join(HERE, "..", "package.json")];
  return [realpathSync(process.execPath), ...own, ...PACKAGES.flatMap(nearest)];
}

/** As node finds it: beside us or above. */
function nearest(name: string): string[] {
  for (let folder = HERE; ; folder = dirname(folder)) {
    const path = join(folder, "node_modules", name);
    if (existsSync(path)) return [path];
    if (folder === dirname(folder)) return [];
  }
}
