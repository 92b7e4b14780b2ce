// SPDX-License-Identifier: Apache-2.0
/** Documents made from the code and committed, so that a public change shows in the diff. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DOCUMENTS } from "#contract/documents.ts";
import { openApiDocument } from "#contract/openapi.ts";
import pkg from "#package.json" with { type: "json" };

const ROOT = new URL("..", import.meta.url).pathname;

const FILES: Record<string, () => string> = Object.fromEntries(
  DOCUMENTS.map(({ file, path: _served, ...document }) => [
    `docs/openapi/${file}`,
    () => `${JSON.stringify(openApiDocument({ ...document, version: pkg.version }), null, 2)}\n`,
  ]),
);

export function generatedDrift(): string[] {
  return Object.entries(FILES).flatMap(([path, make]) => {
    let kept = "";
    try {
      kept = readFileSync(join(ROOT, path), "utf8");
    } catch {
      // Missing is drift too.
    }
    return kept === make() ? [] : [`${path} is not what the code makes: run npm run generate`];
  });
}

if (import.meta.main) {
  for (const [path, make] of Object.entries(FILES)) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), make());
    console.log(path);
  }
}
