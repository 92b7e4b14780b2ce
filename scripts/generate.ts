// SPDX-License-Identifier: Apache-2.0
/** Documents made from the code and committed, so that a public change shows in the diff. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type ApiDocument, DOCUMENTS } from "#contract/documents.ts";
import { openApiDocument } from "#contract/openapi.ts";
import pkg from "#package.json" with { type: "json" };
import { VERIFY_PAGE, verifyPage } from "#verify-page/build.ts";
import { clientTypes, namesOf } from "./sdk-types.ts";

const ROOT = new URL("..", import.meta.url).pathname;

const CONTRACT = join(ROOT, "contract");
/** The modules of each document's part of the contract, whose exports give types their names. */
const MODULES: Record<string, object[]> = {};
for (const { file } of DOCUMENTS) {
  const folder = join(CONTRACT, file.replace(/\.json$/, ""));
  const names = readdirSync(folder).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"));
  MODULES[file] = await Promise.all(names.sort().map((name) => import(join(folder, name))));
}

const FILES: Record<string, () => string | Promise<string>> = Object.fromEntries([
  [VERIFY_PAGE, verifyPage],
  ...DOCUMENTS.flatMap((document) => [
    [`docs/openapi/${document.file}`, () => openApi(document)],
    [
      `sdk/types/${document.file.replace(/json$/, "ts")}`,
      () => clientTypes(document, namesOf(MODULES[document.file]!)),
    ],
  ]),
]);

const openApi = ({ file: _file, path: _served, ...document }: ApiDocument) =>
  `${JSON.stringify(openApiDocument({ ...document, version: pkg.version }), null, 2)}\n`;

export async function generatedDrift(): Promise<string[]> {
  const faults: string[] = [];
  for (const [path, make] of Object.entries(FILES)) {
    let kept = "";
    try {
      kept = readFileSync(join(ROOT, path), "utf8");
    } catch {
      // Missing is drift too.
    }
    if (kept !== (await make())) faults.push(`${path} is not what the code makes: run npm run generate`);
  }
  return faults;
}

if (import.meta.main) {
  for (const [path, make] of Object.entries(FILES)) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), await make());
    console.log(path);
  }
}
