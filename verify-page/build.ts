// SPDX-License-Identifier: Apache-2.0
/**
 * The page as one file. It is built when the code changes and committed, not when control starts: so what people are served
 * can be read in a diff, is the same bytes on every installation, and needs no bundler there.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";

const HERE = new URL(".", import.meta.url).pathname;
const ROOT = join(HERE, "..");
/** Where it is kept, from the repository's root: beside what serves it. */
export const VERIFY_PAGE = "control/src/http/verify-page.html";
const NODE_PRIMITIVES = join(ROOT, "evidence/proofs/primitives.ts");

export async function verifyPage(): Promise<string> {
  const script = await bundle(join(HERE, "main.ts"), "iife");
  const style = readFileSync(join(HERE, "style.css"), "utf8");
  const policy = [
    ...["default-src 'none'", "connect-src 'none'", "base-uri 'none'", "form-action 'none'"],
    ...[`script-src '${hashOf(script)}'`, `style-src '${hashOf(style)}'`],
  ].join("; ");
  return readFileSync(join(HERE, "page.html"), "utf8").replaceAll(
    /\{\{(\w+)\}\}/g,
    (_, name: string) => ({ policy, style, script })[name]!,
  );
}

/** `entry` with everything it imports, with the browser's primitives in the place of Node's. */
export async function bundle(entry: string, format: "iife" | "esm"): Promise<string> {
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
    return `\n${code.trim()}\n`;
  } finally {
    await build.close();
  }
}

const hashOf = (text: string) => `sha256-${createHash("sha256").update(text).digest("base64")}`;
