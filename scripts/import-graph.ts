// SPDX-License-Identifier: Apache-2.0
/**
 * The direction of imports, checked. A room may import itself and what its line names; a test may
 * import anything. The drawing of the house is design, this is what holds it up.
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = new URL("..", import.meta.url).pathname;

/** Longest matching line wins. */
const MAY_IMPORT: Record<string, string[]> = {
  contract: ["package.json"],
  evidence: [],
  // What a browser is given: the verifier with a face. `build.ts`, beside it, runs here.
  "verify-page": ["evidence"],
  // A process of its own, that others run too.
  witness: ["evidence/log", "evidence/proofs", "files"],
  // What a client in another project takes away.
  sdk: [],
  confine: [],
  // Of whoever keeps a small file that must not be lost.
  files: [],
  // What a confined child runs, and what it is asked.
  models: [],
  link: ["contract"],
  // What both ends of a guest's port agree on, and the host's end. The guest's own is not TypeScript.
  guest: [],
  images: ["evidence/tpm", "package.json"],
  // Of images, where they lie and what is known of them; building them is somebody else's.
  drivers: ["contract/link", "evidence", "confine", "guest", "images/metadata.ts", "images/store.ts"],
  host: [
    ...["contract/link", "contract/errors.ts", "link", "drivers", "evidence", "confine"],
    ...["images/store.ts", "package.json"],
  ],
  "control/src/database": ["contract"],
  "control/src/core/identity": ["contract", "control/src/core/random.ts", "control/src/database"],
  "control/src/core/oauth": [
    "contract",
    "control/src/database",
    "control/src/core/identity",
    "control/src/core/vault",
  ],
  "control/src/core/attestation": [
    "contract",
    "evidence",
    "images",
    "link",
    "control/src/core/journal",
    "control/src/core/random.ts",
    "control/src/database",
  ],
  "control/src/core/vault": ["contract", "files", "control/src/core/random.ts", "control/src/database"],
  "control/src/core/journal": ["contract", "control/src/core/random.ts", "control/src/database"],
  "control/src/core/events": ["contract", "control/src/database", "control/src/core/journal"],
  "control/src/core/jobs": ["control/src/database"],
  "control/src/core/models": [
    "confine",
    "contract",
    "models",
    "control/src/blobs",
    "control/src/core/identity",
    "control/src/core/jobs",
    "control/src/core/journal",
    "control/src/core/vault",
    "control/src/database",
  ],
  "control/src/core/webhooks": [
    "contract",
    "control/src/database",
    "control/src/core/events",
    "control/src/core/identity",
    "control/src/core/ingress",
    "control/src/core/jobs",
    "control/src/core/journal",
    "control/src/core/vault",
  ],
  "control/src/core/ledger": ["contract", "control/src/database", "control/src/core/identity"],
  "control/src/core/log": [
    "contract",
    "evidence/log",
    "evidence/proofs",
    "files",
    "witness/request.ts",
    "control/src/core/vault",
    "control/src/database",
  ],
  "control/src/core/proofs": ["contract", "evidence", "control/src/core/vault", "control/src/database"],
  "control/src/core/fleet": ["contract", "link", "control/src/database", "control/src/core/identity"],
  "control/src/core/machines": [
    "contract",
    "control/src/database",
    "control/src/core/fleet",
    "control/src/core/ledger",
  ],
  "control/src/blobs": ["contract", "control/src/database"],
  "control/src/core/images": ["contract", "control/src/database"],
  "control/src/core/ingress": ["contract", "control/src/database"],
  "control/src/http": ["contract", "control/src/database", "control/src/core"],
  "control/src/surfaces/sessions": [
    "contract",
    "evidence",
    "link",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src/surfaces/instances": [
    "contract",
    "evidence/launch",
    "guest",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src/surfaces/workloads": [
    "contract",
    "evidence/launch",
    "guest",
    "link",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src/surfaces/models": [
    "contract",
    "models/job.ts",
    "control/src/blobs",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src/surfaces/registry": [
    "contract",
    "control/src/blobs",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src/surfaces/devices": [
    "contract",
    "models/io-name.ts",
    "models/job.ts",
    "control/src/blobs",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src/surfaces/identity": [
    "contract",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src/surfaces/platform": [
    "contract",
    "evidence",
    "control/src/core",
    "control/src/database",
    "control/src/http",
  ],
  "control/src": ["contract", "link", "control/src", "package.json"],
  // They ask what the drivers would meet, and remove what the drivers made: by the drivers' own code.
  "embedded/doctor": ["confine", "contract", "drivers", "embedded", "images", "package.json"],
  // The installation's issuer vouches for images.
  "embedded/images": ["drivers/qemu/launch-note.ts", "embedded", "evidence", "host/signer", "images"],
  // The rule of nftables is written as that for SSH is.
  "embedded/names": ["drivers/qemu/network/redirect.ts"],
  // A template is unpacked as the driver binds it, and measured as the driver measures it.
  "embedded/templates": ["drivers"],
  "embedded/uninstall": ["confine", "contract", "control/src/database", "drivers", "embedded"],
  embedded: ["confine", "contract", "control/src/database/migrate.ts", "package.json"],
  cli: [
    "confine",
    "embedded",
    "evidence",
    "files",
    "guest",
    "host/join.ts",
    "images",
    "scripts",
    "bench",
    "witness",
    "package.json",
  ],
  scripts: ["contract", "control", "package.json", "verify-page/build.ts"],
  // It runs elsewhere: of ours it has only what is said of models, and walls.
  edge: ["confine", "models/image.ts", "models/io-name.ts", "models/meaning.ts", "models/job.ts"],
  bench: ["*"],
  testing: ["*"],
  test: ["*"],
};

const within = (path: string, room: string) => path === room || path.startsWith(`${room}/`);

export function importFaults(): string[] {
  const faults: string[] = [];
  const files = globSync(
    "{contract,evidence,confine,models,link,guest,images,drivers,host,control,edge,embedded,cli,scripts,bench,verify-page}/**/*.ts",
    { cwd: ROOT },
  );
  for (const file of files) {
    // Tests and what only they use may reach everywhere.
    if (/\.test\.ts$|\/testing\.ts$|conformance/.test(file)) continue;
    const room = Object.keys(MAY_IMPORT)
      .filter((each) => within(file, each))
      .sort((a, b) => b.length - a.length)[0];
    if (room === undefined) {
      faults.push(`${file}: no line in MAY_IMPORT`);
      continue;
    }
    const allowed = MAY_IMPORT[room]!;
    for (const target of importsOf(file)) {
      if (within(target, room) || allowed.includes("*") || allowed.some((each) => within(target, each)))
        continue;
      faults.push(`${file} imports ${target}: ${room} may not`);
    }
  }
  return faults;
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  const found = text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g);
  return [...found].flatMap(([, name]) => {
    if (name!.startsWith("#")) return [name!.slice(1)];
    if (name!.startsWith(".")) return [relative(ROOT, join(ROOT, dirname(file), name!))];
    return [];
  });
}
