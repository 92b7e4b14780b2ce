// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate release make` and `verify`: the files that somebody else takes away, and what says where they come from. Made of a
 * commit and of nothing that lies beside it, so that whoever has the commit makes the same bytes and needs no word of ours.
 */
import { execFileSync } from "node:child_process";
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { toBase64Text } from "#evidence/proofs/encoding.ts";
import { fingerprintOf, isFingerprint } from "#evidence/proofs/issuer-manifest.ts";
import { readPublicKey } from "#evidence/proofs/keys.ts";
import { sha256Hex } from "#evidence/proofs/primitives.ts";
import { wireTime } from "#evidence/proofs/time.ts";
import { openRelease, type ReleaseFile, signRelease } from "#evidence/release/statement.ts";
import { replaceFile } from "#files/replace.ts";
import { parseMetadata } from "#images/metadata.ts";
import { RECIPES } from "#images/recipe.ts";
import pkg from "#package.json" with { type: "json" };
import { bytesOf, imageBytesOf } from "./evidence-files.ts";
import { billOfMaterials } from "./sbom.ts";
import { commandOf, EXIT, type Given, type Printing, UsageFault, type Verifying } from "./usage.ts";

const PROVENANCE = "provenance.intoto.json";
const PUBLIC_KEY = "release-key.pub";

const USAGE = `Usage: casemate release make --key <file> --out <folder> [--image <image.json>]…
       casemate release verify <folder> --key <fingerprint>

  make      Writes the archive of the commit that is checked out, what it is made of (CycloneDX), what is known of guest images
            that you name, and a signed statement of where they come from (in-toto, SLSA provenance v1).
  verify    Whether the files in a folder are those that a key signed, by its fingerprint, had from elsewhere.

  --key <file|fingerprint> make: an Ed25519 private key, PEM: openssl genpkey -algorithm ed25519 -out release.pem
                           verify: sha256:<hex>, as make prints it.
  --out <folder>           One that is new or empty.
  --image <image.json>     A guest image that was built from this commit's locks. Repeatable.
  --json                   Print the outcome as JSON.

Exit codes: 0 done, or the files are what was signed; 1 they are not; 2 usage.
`;

const OPTIONS = {
  key: { type: "string" },
  out: { type: "string" },
  image: { type: "string", multiple: true },
  json: { type: "boolean" },
} as const;

export const releaseCommand = commandOf(USAGE, OPTIONS, (given: Given<typeof OPTIONS>, io: Verifying) => {
  const [what, ...more] = given.positionals;
  if (what === "make" && more.length === 0) return make(given.values, io);
  if (what === "verify" && more.length === 1) return verify(more[0]!, given.values, io);
  throw new UsageFault("Name what to do: make, or verify and a folder.");
});

type Values = Given<typeof OPTIONS>["values"];

const ROOT = new URL("..", import.meta.url).pathname;

/** Of the folder that this program lies in, and of no other by a variable of somebody's shell. */
function git(...args: string[]): Buffer {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GIT_")));
  try {
    return execFileSync("git", ["-C", ROOT, ...args], {
      env,
      maxBuffer: 2 ** 30,
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (cause) {
    throw new UsageFault(`git ${args[0]} failed here: ${(cause as Error).message.split("\n")[0]}`, { cause });
  }
}

async function make(values: Values, { out, nowMs }: Verifying): Promise<number> {
  if (values.key === undefined || values.out === undefined) throw new UsageFault("Give --key and --out.");
  const startedAt = wireTime(new Date(nowMs()));
  const key = privateKeyOf(values.key);
  const folder = values.out;
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new UsageFault(`${folder} is not empty: a release is of files that were made together.`);
  // What is not committed nobody else has: a release of it could be made again by nobody.
  if (git("status", "--porcelain").length > 0)
    throw new UsageFault("There are changes that are not committed: a release is made of a commit.");
  const commit = git("rev-parse", "HEAD").toString().trim();
  const { version } = pkg;
  const prefix = `casemate-${version}`;
  const contents: [string, Uint8Array][] = [
    [`${prefix}.tar`, git("archive", "--format=tar", `--prefix=${prefix}/`, commit)],
    [`${prefix}.cdx.json`, Buffer.from(`${JSON.stringify(billOfMaterials(), null, 1)}\n`)],
  ];
  for (const file of values.image ?? []) contents.push(await imageOf(file));
  const files = contents.map(([name, bytes]) => ({ name, sha256: sha256Hex(bytes) }));
  if (new Set(files.map(({ name }) => name)).size !== files.length)
    throw new UsageFault("Two --image are of one name.");
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  const envelope = signRelease(
    {
      ...{ version, commit, files, locks: locks(), startedAt, finishedAt: wireTime(new Date(nowMs())) },
      tools: { git: git("--version").toString().trim(), node: process.version },
    },
    spki,
    (message) => sign(null, message, key),
  );
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of contents) writeFileSync(join(folder, name), bytes);
  writeFileSync(join(folder, PUBLIC_KEY), `${toBase64Text(spki)}\n`);
  // Last: a folder without it is no release.
  await replaceFile(join(folder, PROVENANCE), Buffer.from(`${JSON.stringify(envelope)}\n`), 0o644);
  const made = { version, commit, key: fingerprintOf(spki), files };
  out(
    values.json
      ? `${JSON.stringify(made)}\n`
      : `${listed(files)}made of commit ${commit}\nsigned by ${made.key}\n`,
  );
  return EXIT.accepted;
}

function privateKeyOf(file: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(readFileSync(file));
  } catch {
    // Whatever is in it is not repeated: it may be a key all the same.
    throw new UsageFault(`${file} cannot be read as a private key in PEM.`);
  }
  if (key.asymmetricKeyType !== "ed25519") throw new UsageFault(`${file} is no Ed25519 key.`);
  return key;
}

/** As the images' own build writes it, under its name. */
async function imageOf(file: string): Promise<[string, Uint8Array]> {
  const bytes = await imageBytesOf(file);
  try {
    const { name, version } = parseMetadata(Buffer.from(bytes).toString());
    if (version !== pkg.version) throw new Error(`it is of version ${version}, and this is ${pkg.version}`);
    return [`image-${name}.json`, bytes];
  } catch (cause) {
    throw new UsageFault(`${file} is not what is known of an image: ${(cause as Error).message}`, { cause });
  }
}

function locks(): ReleaseFile[] {
  const names = ["package-lock.json", ...Object.keys(RECIPES).map((name) => `images/${name}.lock.json`)];
  return names.map((name) => ({ name, sha256: sha256Hex(readFileSync(join(ROOT, name))) }));
}

interface Checked {
  name: string;
  fault: string | null;
}

async function verify(folder: string, values: Values, { out }: Printing): Promise<number> {
  const pin = values.key ?? "";
  if (!isFingerprint(pin))
    throw new UsageFault("--key is the fingerprint of who signs releases: sha256:<64 hex digits>.");
  if (values.out !== undefined || values.image !== undefined)
    throw new UsageFault("--out and --image are for make.");
  const spki = readPublicKey(
    Buffer.from(await bytesOf(join(folder, PUBLIC_KEY)))
      .toString()
      .trim(),
  );
  if (typeof spki === "string") throw new UsageFault(`${PUBLIC_KEY} of the folder is no usable Ed25519 key.`);
  const release =
    fingerprintOf(spki) === pin ? openRelease(await bytesOf(join(folder, PROVENANCE)), spki) : "key_mismatch";
  if (typeof release === "string") return say({ valid: false, failure: release, files: [] as Checked[] });
  const files: Checked[] = [];
  for (const file of release.files) files.push({ name: file.name, fault: await faultOf(folder, file) });
  const valid = files.every(({ fault }) => fault === null);
  const { version, commit } = release;
  return say({ valid, failure: valid ? null : "file_mismatch", version, commit, files });

  function say(verdict: {
    valid: boolean;
    failure: string | null;
    files: Checked[];
    version?: string;
    commit?: string;
  }) {
    if (values.json) out(`${JSON.stringify(verdict)}\n`);
    else out(describe(verdict));
    return verdict.valid ? EXIT.accepted : EXIT.refused;
  }
}

async function faultOf(folder: string, { name, sha256 }: ReleaseFile): Promise<string | null> {
  const path = join(folder, name);
  const found = await lstat(path).catch(() => null);
  if (found === null) return "is not there";
  // Whoever filled the folder could have it lead to a pipe, which would keep the reader forever.
  if (!found.isFile()) return "is no file";
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex") === sha256 ? null : "is not what was signed";
}

const SENTENCES: Record<string, string> = {
  key_mismatch: "The folder's key is not the one that you pinned.",
  malformed: "The statement of where it comes from is no envelope of DSSE.",
  unsupported_type: "The statement of where it comes from is of a kind that is not known here.",
  signature_invalid: "The key did not sign the statement of where it comes from.",
  statement_malformed: "What the key signed is not of a release.",
  file_mismatch: "Not every file is what was signed.",
};

function describe({
  failure,
  files,
  version,
  commit,
}: {
  failure: string | null;
  files: Checked[];
  version?: string;
  commit?: string;
}): string {
  const lines = files.map(
    ({ name, fault }) => `${fault === null ? "ok  " : "FAIL"} ${name}${fault === null ? "" : ` ${fault}`}\n`,
  );
  const end =
    failure === null
      ? `This is casemate ${version}, made of commit ${commit}.\n`
      : `${SENTENCES[failure]} (${failure})\n`;
  return `${lines.join("")}${end}`;
}

const listed = (files: readonly ReleaseFile[]) =>
  files.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join("");
