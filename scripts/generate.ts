// SPDX-License-Identifier: Apache-2.0
/** Documents made from the code and committed, so that a public change shows in the diff. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { openApiDocument } from "#contract/openapi.ts";
import { SESSIONS } from "#contract/sessions/index.ts";
import { ErrorBody } from "#contract/sessions/vocabulary.ts";
import pkg from "#package.json" with { type: "json" };

const ROOT = new URL("..", import.meta.url).pathname;

const DOCUMENTS: Record<string, () => string> = {
  "docs/openapi/sessions.json": () =>
    `${JSON.stringify(
      openApiDocument({
        title: "Casemate sessions",
        version: pkg.version,
        description: "Ephemeral sealed sandboxes that end with a signed destruction proof.",
        operations: SESSIONS,
        error: ErrorBody,
      }),
      null,
      2,
    )}\n`,
};

export function generatedDrift(): string[] {
  return Object.entries(DOCUMENTS).flatMap(([path, make]) => {
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
  for (const [path, make] of Object.entries(DOCUMENTS)) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), make());
    console.log(path);
  }
}
