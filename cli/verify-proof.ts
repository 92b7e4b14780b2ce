// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate verify-proof`: judges a destruction proof offline, from its bytes and the keys the reader
 * pins on the command line. Nothing is fetched; what cannot be shown without asking somebody is
 * answered with exit code 3, never with a quiet lower level.
 */
import { createReadStream } from "node:fs";
import { parseArgs } from "node:util";
import { openCheckpoint } from "#evidence/log/checkpoint.ts";
import { type LogTrust, openInclusion, witnessedAt } from "#evidence/log/inclusion.ts";
import { COSIGNATURE, readNoteKey } from "#evidence/log/note.ts";
import { type Issuer, PinnedIssuer } from "#evidence/proofs/certificate.ts";
import { isFingerprint, isIssuerManifest, openIssuerManifest } from "#evidence/proofs/issuer-manifest.ts";
import { JSON_BYTES_MAX, parseStrictJson } from "#evidence/proofs/strict-json.ts";
import { wireTime } from "#evidence/proofs/time.ts";
import { FAILURES, WARNINGS } from "#evidence/proofs/verdict.ts";
import { type CheckDone, type Examination, examineProof } from "#evidence/proofs/verify.ts";
import { type AuditFiles, auditOptionsOf, auditProofOf, judged } from "./audit-proof.ts";
import { OWN_IO, orUsage, type Printing, UsageFault } from "./usage.ts";

interface VerifyProofIo extends Printing {
  stdin: AsyncIterable<Uint8Array>;
}

export const EXIT = { holds: 0, fails: 1, usage: 2, uncheckable: 3 } as const;

const USAGE = `Usage: casemate verify-proof <file|-> [options]

  --level <1|2|3>          1: the document is whole; 2: a pinned issuer certified its key; 3: it is in a
                           log that grew from the checkpoint you hold.
                           Default: the highest of what is given.
  --issuer <id>=<spki>     Pin an issuer: its id and its public key (SPKI DER in base64). Repeatable.
  --issuer-file <file>     Pin the issuers in a JSON file: {"issuerId": …, "publicKey": …} or a list, or a signed
                           list (GET /platform/v1/issuers/manifest), with its fingerprint, had from elsewhere:
  --issuer <sha256:hex>    Pin who signed that list. It also says what was revoked.
  --checkpoint <file>      The checkpoint of the log that you hold: saved before, or had from elsewhere.
  --inclusion <file>       Where the proof is in the log: the answer of GET /v1/proofs/<session>/transparency,
                           with ?size=<entries of your checkpoint> for a proof older than it,
                           with ?from=<entries of your checkpoint> for a newer one.
  --log-key <key>          Pin a key of the log, as GET /log/keys has it. Repeatable.
  --witness <key>          Pin a witness of the log, as \`casemate witness\` prints its key: one of those that are
                           pinned must have seen the tree, and when it had is printed. Repeatable.
  --json                   Print the verdict as JSON.

Of an AuditProof (CDP 1.0 to 2.2, a document without a profile), with --json as {valid, stage_reached, failure_reason}:
  --policy <file>          What you demand: {"required_region": …, "required_authority_id": …}.
  --trust-chain <file>     The manifest of the authorities' keys, and
  --pin <fingerprint>      the SHA-256 of its identity key, had from elsewhere: sha256:<hex>.
  --activity <file>        Your own file of which the document declares the root.

Exit codes: 0 holds at the asked level (an AuditProof: signed), 1 fails, 2 usage, 3 the asked level cannot be
checked here (an AuditProof: whole, but not signed).
`;

export const verifyProofCommand = (argv: string[], io: VerifyProofIo): Promise<number> =>
  orUsage(USAGE, io.err, () => run(argv, io));

async function run(argv: string[], io: VerifyProofIo): Promise<number> {
  const asked = parse(argv);
  if (asked === "help") {
    io.out(USAGE);
    return EXIT.holds;
  }
  const audit = await auditOptionsOf(asked.audit, bytesOf);
  const given = await issuersOf(asked.issuerFiles, asked.fingerprints);
  const issuers = [...asked.issuers, ...given.issuers].map(pin);
  const transparency = await transparencyOf(asked);
  const level = asked.level ?? (transparency !== null ? 3 : issuers.length > 0 ? 2 : 1);
  if (level >= 2 && issuers.length === 0) {
    io.err(`Level ${level} cannot be checked without a pinned issuer: give --issuer or --issuer-file.\n`);
    return EXIT.uncheckable;
  }
  if (level === 3 && transparency === null) {
    io.err("Level 3 cannot be checked without --checkpoint, which you hold, and --inclusion.\n");
    return EXIT.uncheckable;
  }
  const proof = await readProof(asked.file, io);
  const auditProof = auditProofOf(proof, asked.audit);
  if (auditProof !== null) {
    if (level === 1) return judged(auditProof.value, audit, asked.json, io.out);
    io.err("An AuditProof has stages and no levels: give --trust-chain and --pin to learn who signed it.\n");
    return EXIT.uncheckable;
  }
  const examination = examineProof(proof, {
    ...{ issuers, level, revokedIssuerIds: given.revokedIssuers, revokedKeyIds: given.revokedKeys },
    ...(transparency !== null && level === 3 && { transparency }),
  });
  const { verdict } = examination;
  const seen = level === 3 && transparency !== null ? seenBy(transparency) : "";
  io.out(asked.json ? `${JSON.stringify(verdict)}\n` : `${seen}${describe(examination, level)}`);
  return verdict.valid && verdict.level >= level ? EXIT.holds : EXIT.fails;
}

interface Asked {
  file: string;
  level: 1 | 2 | 3 | undefined;
  issuers: Issuer[];
  fingerprints: string[];
  issuerFiles: string[];
  checkpointFile: string | undefined;
  inclusionFile: string | undefined;
  logKeys: string[];
  witnesses: string[];
  audit: AuditFiles;
  json: boolean;
}

function parse(argv: string[]): Asked | "help" {
  const { values, positionals } = options(argv);
  if (values.help === true) return "help";
  const [file] = positionals;
  if (file === undefined || positionals.length > 1) throw new UsageFault("Name one file, or - for stdin.");
  const level = values.level === undefined ? undefined : Number(values.level);
  if (level !== undefined && level !== 1 && level !== 2 && level !== 3) {
    throw new UsageFault(`--level is 1, 2 or 3, not ${values.level}.`);
  }
  const fingerprints = (values.issuer ?? []).filter(isFingerprint);
  const named = (values.issuer ?? []).filter((text) => !isFingerprint(text));
  const issuers = named.map((text) => {
    // An id may hold no `=`, while base64 ends with it.
    const [, issuerId, publicKey] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (issuerId === undefined || publicKey === undefined)
      throw new UsageFault(
        "--issuer is <id>=<base64 SPKI>, or the fingerprint sha256:<64 hex digits> of a signed list.",
      );
    return { issuerId, publicKey };
  });
  return {
    ...{
      file,
      level,
      issuers,
      fingerprints,
      issuerFiles: values["issuer-file"] ?? [],
      json: values.json === true,
    },
    ...{
      checkpointFile: values.checkpoint,
      inclusionFile: values.inclusion,
      logKeys: values["log-key"] ?? [],
      witnesses: values.witness ?? [],
    },
    audit: {
      ...{ policyFile: values.policy, trustChainFile: values["trust-chain"] },
      ...{ pin: values.pin, activityFile: values.activity },
    },
  };
}

function options(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        level: { type: "string" },
        issuer: { type: "string", multiple: true },
        "issuer-file": { type: "string", multiple: true },
        checkpoint: { type: "string" },
        inclusion: { type: "string" },
        "log-key": { type: "string", multiple: true },
        witness: { type: "string", multiple: true },
        policy: { type: "string" },
        "trust-chain": { type: "string" },
        pin: { type: "string" },
        activity: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (cause) {
    throw new UsageFault((cause as Error).message, { cause });
  }
}

interface GivenIssuers {
  issuers: Issuer[];
  revokedIssuers: Set<string>;
  revokedKeys: Set<string>;
}

/** Every fingerprint is of a list that is there: a pin that pins nothing was meant to. */
async function issuersOf(files: string[], fingerprints: string[]): Promise<GivenIssuers> {
  const given: GivenIssuers = { issuers: [], revokedIssuers: new Set(), revokedKeys: new Set() };
  const unused = new Set(fingerprints);
  for (const file of files) {
    const parsed = parseStrictJson(await bytesOf(file));
    if (!parsed.ok) throw new UsageFault(`${file} is not usable JSON (${parsed.code}).`);
    if (isIssuerManifest(parsed.value)) takeManifest(given, parsed.value, file, fingerprints, unused);
    else given.issuers.push(...plainIssuers(parsed.value, file));
  }
  if (unused.size > 0)
    throw new UsageFault(`No --issuer-file is a list signed by ${[...unused].join(" or ")}.`);
  return given;
}

function takeManifest(
  given: GivenIssuers,
  value: unknown,
  file: string,
  fingerprints: string[],
  unused: Set<string>,
): void {
  if (fingerprints.length === 0)
    throw new UsageFault(
      `${file} is a signed list of issuers: pin who signed it with --issuer <fingerprint>.`,
    );
  let fault = "fingerprint_mismatch";
  for (const fingerprint of fingerprints) {
    const opened = openIssuerManifest(value, fingerprint);
    if (typeof opened === "string") {
      if (opened !== "fingerprint_mismatch") fault = opened;
      continue;
    }
    unused.delete(fingerprint);
    given.issuers.push(...opened.issuers);
    for (const id of opened.revokedIssuerIds) given.revokedIssuers.add(id);
    for (const id of opened.revokedKeyIds) given.revokedKeys.add(id);
    return;
  }
  throw new UsageFault(`${file} cannot be trusted as a list of issuers (${fault}).`);
}

function plainIssuers(value: unknown, file: string): Issuer[] {
  return (Array.isArray(value) ? value : [value]).map((one) => {
    const { issuerId, publicKey } = (one ?? {}) as Record<string, unknown>;
    if (typeof issuerId !== "string" || typeof publicKey !== "string")
      throw new UsageFault(`${file} holds an issuer without issuerId or publicKey.`);
    return { issuerId, publicKey };
  });
}

/** Null unless both were given: what is missing makes the level one that cannot be checked, not one that fails. */
async function transparencyOf({ checkpointFile, inclusionFile, logKeys, witnesses }: Asked) {
  const keys = logKeys.map((text) => {
    const key = readNoteKey(text);
    if (key === null) throw new UsageFault("--log-key is <name>+<id>+<base64>, as GET /log/keys has it.");
    return key;
  });
  const pinned = witnesses.map((text) => {
    const key = readNoteKey(text);
    if (key?.type !== COSIGNATURE)
      throw new UsageFault("--witness is a key as `casemate witness` prints it.");
    return key;
  });
  if (checkpointFile === undefined || inclusionFile === undefined) return null;
  const held = openCheckpoint(await bytesOf(checkpointFile));
  if (held === null) throw new UsageFault(`${checkpointFile} is no checkpoint of a log.`);
  const parsed = parseStrictJson(await bytesOf(inclusionFile));
  if (!parsed.ok) throw new UsageFault(`${inclusionFile} is not usable JSON (${parsed.code}).`);
  return { inclusion: parsed.value, trust: { held, keys, witnesses: pinned } };
}

/** In words: when a pinned witness had seen the tree that the proof is shown in. */
function seenBy({ inclusion, trust }: { inclusion: unknown; trust: LogTrust }): string {
  const opened = openInclusion(inclusion);
  const seconds = opened === null ? null : witnessedAt(opened, trust);
  return seconds === null ? "" : `seen by a witness at ${wireTime(new Date(seconds * 1000))}\n`;
}

/** A mistyped key would make every proof look forged: it is refused before any is judged. */
function pin({ issuerId, publicKey }: Issuer): PinnedIssuer {
  const prefixed = publicKey.startsWith("base64:") ? publicKey : `base64:${publicKey}`;
  try {
    return new PinnedIssuer({ issuerId, publicKey: prefixed });
  } catch (cause) {
    throw new UsageFault(`The key of issuer ${issuerId} is no usable Ed25519 SPKI in base64.`, { cause });
  }
}

function readProof(file: string, io: VerifyProofIo): Promise<Uint8Array> {
  return file === "-" ? collect(io.stdin) : bytesOf(file);
}

async function bytesOf(file: string): Promise<Uint8Array> {
  try {
    return await collect(createReadStream(file));
  } catch (cause) {
    throw new UsageFault(`Cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
}

/** Stops after one byte too many, which is enough for the verifier to say `too_large`. */
async function collect(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > JSON_BYTES_MAX) break;
  }
  return Buffer.concat(chunks);
}

function describe({ verdict, done }: Examination, level: number): string {
  const lines = done.filter((check) => check.level <= level).map(lineOf);
  for (const failure of verdict.failures) lines.push(`failure: ${FAILURES[failure].sentence} (${failure})`);
  for (const warning of verdict.warnings) lines.push(`warning: ${WARNINGS[warning]} (${warning})`);
  if (verdict.outcome !== null) lines.push(`outcome: ${verdict.outcome}`);
  const holds = verdict.valid && verdict.level >= level;
  lines.push(
    holds ? `The proof holds at level ${verdict.level}.` : `The proof does not hold at level ${level}.`,
  );
  return `${lines.join("\n")}\n`;
}

function lineOf({ name, shows, passed }: CheckDone): string {
  const mark = passed === null ? "--  " : passed ? "ok  " : "FAIL";
  return `${mark} ${name.padEnd(11)} ${shows}`;
}

if (import.meta.main)
  process.exitCode = await verifyProofCommand(process.argv.slice(2), { stdin: process.stdin, ...OWN_IO });
