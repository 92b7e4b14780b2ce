// SPDX-License-Identifier: Apache-2.0
/**
 * Compiles the guest's agent with the compiler of the lock file, unpacked for this build and removed after it: the machine's own
 * compilers and their settings have no part in it. The same source and lock give the same bytes in any folder.
 */
import { createHash } from "node:crypto";
import { globSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { runTool } from "./program.ts";
import type { Recipe } from "./recipe.ts";

const SOURCE = new URL("../guest/agent", import.meta.url).pathname;

export interface CompileOptions {
  /** Archives of the compiler's packages. */
  archives: readonly string[];
  recipe: Pick<Recipe, "compilerRoot" | "architecture" | "version">;
  work: string;
  signal: AbortSignal;
}

/** Answers the path of a static program. */
export async function compileAgent({ archives, recipe, work, signal }: CompileOptions): Promise<string> {
  const toolchain = join(work, "toolchain");
  for (const part of [toolchain, join(work, "go-cache"), join(work, "go-home")])
    mkdirSync(part, { recursive: true });
  for (const archive of archives) await runTool("dpkg-deb", ["--extract", archive, toolchain], { signal });
  const root = join(toolchain, recipe.compilerRoot);
  const out = join(work, "agent");
  const env = {
    GOROOT: root,
    GOCACHE: join(work, "go-cache"),
    HOME: join(work, "go-home"),
    // It has no dependency but the standard library, and none is ever fetched.
    ...{ GOPROXY: "off", GOFLAGS: "-mod=readonly", GOENV: "off", GOWORK: "off", GOTOOLCHAIN: "local" },
    ...{ CGO_ENABLED: "0", GOOS: "linux", GOARCH: recipe.architecture, GOAMD64: "v1" },
  };
  const flags = `-s -w -buildid= -X main.version=${recipe.version}`;
  const args = ["build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out, "."];
  await runTool(join(root, "bin/go"), args, { signal, cwd: SOURCE, env });
  return out;
}

/** Of every file that the agent is compiled from, also in folders of it. */
export function agentSourceSha256(source = SOURCE): string {
  const hash = createHash("sha256");
  for (const path of globSync("**/*", { cwd: source }).sort()) {
    const at = join(source, path);
    if (path.endsWith("_test.go") || !statSync(at).isFile()) continue;
    hash.update(`${path}\0${createHash("sha256").update(readFileSync(at)).digest("hex")}\n`);
  }
  return hash.digest("hex");
}
