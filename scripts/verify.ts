// SPDX-License-Identifier: Apache-2.0
/** Everything a change must pass: format and lint, types, import graph, unused code, generated documents, tests. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { generatedDrift } from "./generate.ts";
import { importFaults } from "./import-graph.ts";
import { runTests } from "./test.ts";

const ROOT = new URL("..", import.meta.url).pathname;

function tool(name: string, args: string[]): string[] {
  const { status, stdout, stderr } = spawnSync(join(ROOT, "node_modules/.bin", name), args, {
    cwd: ROOT,
    encoding: "utf8",
  });
  return status === 0 ? [] : [`${stdout}${stderr}`.trim()];
}

const STEPS: [string, () => string[] | Promise<string[]>][] = [
  ["format and lint", () => tool("biome", ["check", "--error-on-warnings", "."])],
  ["types", () => tool("tsc", ["--noEmit"])],
  ["types of the page", () => tool("tsc", ["-p", "verify-page"])],
  ["import graph", importFaults],
  ["unused code", () => tool("knip", ["--no-progress"])],
  ["generated documents", generatedDrift],
];

export async function verify(argv: string[]): Promise<number> {
  for (const [name, run] of STEPS) {
    const faults = await run();
    console.log(`${faults.length === 0 ? "ok  " : "FAIL"} ${name}`);
    for (const fault of faults) console.log(fault);
    if (faults.length > 0) return 1;
  }
  return argv.includes("--no-tests") ? 0 : runTests(argv);
}
