// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate sbom`: everything that this release is made of, as CycloneDX 1.6: the packages of npm that the
 * lock names, and the packages of Debian in each guest image, with the hash that their build demands. It is
 * computed from the locks alone, so whoever has the same commit prints the same bytes.
 */
import { existsSync, readFileSync } from "node:fs";
import { type LockedPackage, parseLock } from "#images/lock.ts";
import { RECIPES } from "#images/recipe.ts";
import pkg from "#package.json" with { type: "json" };
import { commandOf, type Printing, UsageFault } from "./usage.ts";

const USAGE = `Usage: casemate sbom

Prints what this release is made of as CycloneDX 1.6 (JSON): packages of npm and of guest images, with their hashes.
`;

interface NpmEntry {
  version?: string;
  name?: string;
  integrity?: string;
  license?: string;
  dev?: boolean;
  optional?: boolean;
  devOptional?: boolean;
  link?: boolean;
}

interface Component {
  type: string;
  "bom-ref": string;
  name: string;
  version: string;
  purl?: string;
  scope?: "required" | "optional" | "excluded";
  hashes?: { alg: "SHA-512" | "SHA-256"; content: string }[];
  licenses?: object[];
  properties?: { name: string; value: string }[];
  components?: Component[];
}

export const sbomCommand = commandOf(USAGE, {}, async ({ positionals }, { out }: Printing) => {
  if (positionals.length > 0) throw new UsageFault("It takes nothing.");
  out(`${JSON.stringify(billOfMaterials(), null, 1)}\n`);
  return 0;
});

interface BillOfMaterials {
  bomFormat: "CycloneDX";
  specVersion: "1.6";
  version: 1;
  metadata: { component: object };
  components: Component[];
}

const fileOf = (name: string) => new URL(`../${name}`, import.meta.url);
const textOf = (name: string) => readFileSync(fileOf(name), "utf8");

export function billOfMaterials(): BillOfMaterials {
  const lock = JSON.parse(textOf("package-lock.json"));
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        ...{ type: "application", "bom-ref": "casemate", name: "casemate", version: pkg.version },
        licenses: [{ license: { id: pkg.license } }],
      },
    },
    components: [...npmComponents(lock.packages), ...Object.keys(RECIPES).map(imageComponent)],
  };
}

/** Once for each name and version, wherever in the tree it lies; needed by anything that runs, it is required. */
export function npmComponents(packages: Record<string, NpmEntry>): Component[] {
  const found = new Map<string, Component>();
  for (const [path, entry] of Object.entries(packages)) {
    if (path === "" || entry.link === true || entry.version === undefined) continue;
    const name = entry.name ?? path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const purl = `pkg:npm/${name.replace(/^@/, "%40")}@${encodeURIComponent(entry.version)}`;
    const scope = scopeOf(entry);
    const known = found.get(purl);
    if (known !== undefined) {
      if (RANK[scope] < RANK[known.scope!]) known.scope = scope;
      continue;
    }
    found.set(purl, {
      ...{ type: "library", "bom-ref": purl, name, version: entry.version, purl, scope },
      ...(entry.integrity !== undefined && { hashes: hashesOf(entry.integrity) }),
      ...(entry.license !== undefined && { licenses: [licenseOf(entry.license)] }),
    });
  }
  return [...found.values()].sort((one, other) => (one["bom-ref"] < other["bom-ref"] ? -1 : 1));
}

const RANK = { required: 0, optional: 1, excluded: 2 };

function scopeOf({ dev, optional, devOptional }: NpmEntry): "required" | "optional" | "excluded" {
  if (dev) return "excluded";
  return optional || devOptional ? "optional" : "required";
}

/** Subresource integrity, of which the lock has one hash, in base64. */
function hashesOf(integrity: string): NonNullable<Component["hashes"]> {
  const [, content] = /^sha512-([A-Za-z0-9+/]+={0,2})$/.exec(integrity) ?? [];
  if (content === undefined) throw new Error(`the lock has ${integrity}, which is no SHA-512`);
  return [{ alg: "SHA-512", content: Buffer.from(content, "base64").toString("hex") }];
}

/** An SPDX id, an expression of them, or whatever words its author chose. */
function licenseOf(text: string): object {
  if (/^[A-Za-z0-9.+-]+$/.test(text)) return { license: { id: text } };
  if (/^\(?[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)+\)?$/.test(text)) return { expression: text };
  return { license: { name: text } };
}

/** A guest image by its locks; what compiles the agent is in no image, and is named as such. */
function imageComponent(image: string): Component {
  const { suite, architecture, epochS, packages } = parseLock(textOf(`images/${image}.lock.json`), image);
  const agentLock = `images/agents/${image}/package-lock.json`;
  const agent = existsSync(fileOf(agentLock)) ? npmComponents(JSON.parse(textOf(agentLock)).packages) : [];
  const ref = (name: string) => `guest-image/${image}/${name}`;
  const version = new Date(epochS * 1000).toISOString().slice(0, 10);
  return {
    ...{ type: "operating-system", "bom-ref": `guest-image/${image}`, name: `guest image ${image}`, version },
    properties: [{ name: "casemate:architecture", value: architecture }],
    components: [
      ...packages.map((one) => packageOf(one, suite, ref)),
      ...agent.map((one) => ({ ...one, "bom-ref": ref(one["bom-ref"]) })),
    ],
  };
}

function packageOf(one: LockedPackage, suite: string, ref: (name: string) => string): Component {
  const purl = `pkg:deb/debian/${encodeURIComponent(one.name)}@${encodeURIComponent(one.version)}?arch=${one.architecture}&distro=${suite}`;
  return {
    ...{ type: "library", "bom-ref": ref(`${one.use}/${one.name}`), name: one.name },
    ...{ version: one.version, purl },
    scope: one.use === "compiler" ? "excluded" : "required",
    hashes: [{ alg: "SHA-256", content: one.sha256 }],
    properties: [{ name: "casemate:use", value: one.use }],
  };
}
