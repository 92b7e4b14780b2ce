// SPDX-License-Identifier: Apache-2.0
/**
 * The edge agent as plain JavaScript, for its package: node strips no types below `node_modules`. What is
 * needed is found by following imports from the two programs; an import that the package could not resolve
 * ends the build.
 */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { dirname, join } from "node:path";

const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
const PACKAGE = join(ROOT, "edge");
const PROGRAMS = ["edge/main.ts", "edge/runner.ts"];
const IMPORT = /(\bfrom\s*|\bimport\s*\(?\s*)"([^"]+)"/g;

function buildEdge(folder: string): string[] {
  const { dependencies, version } = manifest(PACKAGE);
  if (version !== manifest(ROOT).version)
    throw new Error("edge/package.json has another version than we have");
  for (const [name, wanted] of Object.entries(dependencies))
    if (manifest(ROOT).dependencies[name] !== wanted)
      throw new Error(`edge/package.json wants another ${name} than we run`);
  rmSync(folder, { recursive: true, force: true });
  const written = new Set<string>();
  const waiting = [...PROGRAMS];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (written.has(file)) continue;
    written.add(file);
    const plain = stripTypeScriptTypes(readFileSync(join(ROOT, file), "utf8"), { mode: "strip" });
    const from = dirname(file);
    const text = plain.replaceAll(IMPORT, (_, words: string, name: string) => {
      if (name.startsWith("node:") || Object.hasOwn(dependencies, name)) return `${words}"${name}"`;
      if (!name.startsWith(".") || !name.endsWith(".ts"))
        throw new Error(`${file} imports ${name}, which the package does not have`);
      waiting.push(join(from, name));
      return `${words}"${name.replace(/\.ts$/, ".js")}"`;
    });
    const target = join(folder, file.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(target), { recursive: true });
    const head = file === PROGRAMS[0] ? "#!/usr/bin/env node\n" : "";
    // Types leave empty space behind; nobody reads it there.
    writeFileSync(target, head + text.replaceAll(/[ \t]+$/gm, ""), { mode: 0o755 });
  }
  return [...written].sort();
}

interface Manifest {
  version: string;
  dependencies: Record<string, string>;
}
const manifest = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

/** `build-edge.ts [folder]`: below edge/, or with all that is packed below another folder. */
if (import.meta.main) {
  const folder = process.argv[2] ?? PACKAGE;
  for (const file of buildEdge(join(folder, "dist"))) console.log(file);
  copyFileSync(join(ROOT, "LICENSE"), join(folder, "LICENSE"));
  if (folder !== PACKAGE)
    for (const name of ["package.json", "README.md"]) copyFileSync(join(PACKAGE, name), join(folder, name));
}
