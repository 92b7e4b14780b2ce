// SPDX-License-Identifier: Apache-2.0
/**
 * Root templates: a tree of files by name, and its digest, which goes into proofs. The digest is
 * computed here before a template is first used and never believed: configuration that names another
 * tree than it means, or a tree that was changed since, starts nothing. Whoever changes it under a running
 * host is root or the operator, whom nothing here keeps out.
 */
import { createHash } from "node:crypto";
import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { DriverFault } from "../driver.ts";

export interface Template {
  path: string;
  digest: string;
}

/**
 * SHA-256 over one line for each entry in the order of their paths: kind, path, and the SHA-256 of a
 * file's bytes or a link's target. Modes and times are left out: a session can write to none of it.
 */
export async function digestTree(root: string): Promise<string> {
  const hash = createHash("sha256");
  const found = await readdir(root, { recursive: true, withFileTypes: true });
  const entries = found.map((entry) => ({ entry, path: join(entry.parentPath, entry.name) }));
  for (const { entry, path } of entries.sort((a, b) =>
    Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)),
  )) {
    const name = path.slice(join(root, "/").length);
    if (entry.isDirectory()) hash.update(`d ${JSON.stringify(name)}\n`);
    else if (entry.isSymbolicLink())
      hash.update(`l ${JSON.stringify(name)} ${JSON.stringify(await readlink(path))}\n`);
    else if (entry.isFile()) {
      const bytes = createHash("sha256").update(await readFile(path));
      hash.update(`f ${JSON.stringify(name)} ${bytes.digest("hex")}\n`);
    } else throw new Error(`${path} is neither file, folder nor link`);
  }
  return `sha256:${hash.digest("hex")}`;
}

export class Templates {
  readonly #named: ReadonlyMap<string, Template>;
  readonly #checked = new Map<string, Promise<Template>>();

  constructor(named: ReadonlyMap<string, Template>) {
    this.#named = named;
  }

  /** The template of this name, whose digest is what is there. */
  get(name: string): Promise<Template> {
    let checked = this.#checked.get(name);
    if (!checked) {
      checked = this.#check(name);
      this.#checked.set(name, checked);
      // Looked at again when it is asked for again: the operator may have put it right.
      checked.catch(() => this.#checked.delete(name));
    }
    return checked;
  }

  async #check(name: string): Promise<Template> {
    const template = this.#named.get(name);
    if (!template) throw new DriverFault("machine.image-unknown", `no template ${name}`);
    const found = await digestTree(template.path).catch((cause: Error) => {
      throw new DriverFault("machine.image-unknown", `template ${name}: ${cause.message}`, { cause });
    });
    if (found !== template.digest)
      throw new DriverFault(
        "machine.image-unknown",
        `template ${name} has the digest ${found}, not ${template.digest}`,
      );
    return template;
  }
}
