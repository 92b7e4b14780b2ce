// SPDX-License-Identifier: Apache-2.0
/**
 * Configs and secrets: texts that Docker puts into containers as files. They may come from uploads,
 * from the machine's environment or from the document, and from no file of the host.
 */
import { readUpload } from "./files.ts";
import { readLabels } from "./names.ts";
import { type Json, type Place, type Reader, table } from "./place.ts";
import { checkTarget, readId, readMode } from "./quantities.ts";

const REFUSED = table({
  driver: "Configs and secrets have no driver.",
  driver_opts: "Configs and secrets have no driver.",
  template_driver: "Templates are not expanded.",
  name: "This has the name under which it is declared.",
});
const external: Reader = (at) => {
  if (at.item.kind === "flag" && !at.item.value) return undefined;
  return at.refuse("Nothing from outside of the document can be used; leave `external` out.");
};
/** Docker reads it from its own process's environment, so only names that were given are there. */
const environment: Reader = (at) => {
  const name = at.string();
  if (name === undefined || at.sheet.env.has(name)) return name;
  return at.refuse("This must be the name of a variable that was given in envVars.");
};
const SECRET = table<Reader>({ file: readUpload, environment, external, labels: readLabels });
const CONFIG = table<Reader>({
  file: readUpload,
  environment,
  external,
  labels: readLabels,
  content: (at) => at.string(),
});

const declaredWith = (fields: ReadonlyMap<string, Reader>, rule: string) => (at: Place) => {
  const before = at.sheet.findings.violations.length;
  const read = at.fields(fields, REFUSED);
  if (read === undefined || at.sheet.findings.violations.length > before) return undefined;
  const sources = ["file", "environment", "content"].filter((key) => key in read);
  return sources.length === 1 ? read : at.refuse(rule);
};

export const readSecret = declaredWith(SECRET, "A secret has either a file or an environment.");
export const readConfig = declaredWith(CONFIG, "A config has either a file, an environment or a content.");

/** How a service asks for one: by its name, or with where and for whom. */
export const readUse = (kind: "configs" | "secrets"): Reader => {
  const source = (at: Place) => {
    const name = at.string();
    if (name === undefined || at.sheet.declared[kind].has(name)) return name;
    return at.refuse(`There is nothing of this name under \`${kind}\`.`);
  };
  const fields = table<Reader>({
    source,
    // A secret's target may be a bare name below /run/secrets.
    target: (at) => {
      const target = at.string();
      if (target === undefined || target.startsWith("/")) return target && checkTarget(at, target);
      if (/^[\w][\w.-]{0,254}$/.test(target)) return target;
      return at.refuse("This must be a file's name, or an absolute path inside of the container.");
    },
    uid: readId,
    gid: readId,
    mode: readMode,
  });
  return (at) => {
    if (at.item.kind !== "map") return source(at);
    const use: { [key: string]: Json } | undefined = at.fields(fields);
    if (use === undefined || use.source !== undefined) return use;
    return at.item.entries.has("source") ? undefined : at.refuse("This needs a source.");
  };
};
