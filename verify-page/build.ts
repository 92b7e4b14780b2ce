// SPDX-License-Identifier: Apache-2.0
/**
 * The page as one file. It is built when the code changes and committed, not when control starts: so what people are served
 * can be read in a diff, is the same bytes on every installation, and needs no bundler there.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";

const HERE = new URL(".", import.meta.url).pathname;
const ROOT = join(HERE, "..");
/** Where it is kept, from the repository's root: beside what serves it. */
export const VERIFY_PAGE = "control/src/http/verify-page.html";
const NODE_PRIMITIVES = join(ROOT, "evidence/proofs/primitives.ts");

export async function verifyPage(): Promise<string> {
  const { code: script, packages } = await bundle(join(HERE, "main.ts"), "iife");
  const licences = packages.map(licenceOf).join("\n\n");
  const style = readFileSync(join(HERE, "style.css"), "utf8");
  const policy = [
    ...["default-src 'none'", "connect-src 'none'", "base-uri 'none'", "form-action 'none'"],
    ...[`script-src '${hashOf(script)}'`, `style-src '${hashOf(style)}'`],
  ].join("; ");
  return readFileSync(join(HERE, "page.html"), "utf8").replaceAll(
    /\{\{(\w+)\}\}/g,
    (_, name: string) => ({ policy, style, script, licences })[name]!,
  );
}

/** Whoever is handed the page is handed these packages, and their licences ask to come along. */
function licenceOf(name: string): string {
  const folder = join(ROOT, "node_modules", name);
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  if (file === undefined) throw new Error(`${name} has no licence`);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const text = readFileSync(join(folder, file), "utf8").trim();
  return `${name} ${version}\n\n${text}`.replace(/[&<>]/g, (each) => `&#${each.charCodeAt(0)};`);
}

/** `entry` with everything it imports, with the browser's primitives in the place of Node's. */
export async function bundle(entry: string, format: "iife" | "esm") {
  const build = await rolldown({
    input: entry,
    cwd: ROOT,
    platform: "browser",
    tsconfig: false,
    plugins: [
      {
        name: "browser-primitives",
        async resolveId(source, importer, options) {
          const found = await this.resolve(source, importer, { ...options, skipSelf: true });
          if (found?.id === NODE_PRIMITIVES) return join(HERE, "primitives.ts");
          if (found === null || found.external)
            throw new Error(`${importer} imports ${source}, which a browser does not have`);
          return found;
        },
      },
    ],
  });
  try {
    const { output } = await build.generate({ format, minify: false, comments: false, codeSplitting: false });
    const [{ code }] = output;
    if (output.length !== 1 || /<\/script|<!--/i.test(code))
      throw new Error("the script cannot stand in a page as it is");
    const names = Object.keys(output[0].modules).map(
      (path) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1],
    );
    const packages = [...new Set(names)].filter((name) => name !== undefined).sort();
    return { code: `\n${code.trim()}\n`, packages };
  } finally {
    await build.close();
  }
}

const hashOf = (text: string) => `sha256-${createHash("sha256").update(text).digest("base64")}`;
