// SPDX-License-Identifier: Apache-2.0
/**
 * What a release says of itself: an in-toto statement with a SLSA provenance predicate (v1), whose subjects are the
 * release's files. It says who put these bytes together from which commit, and no more: who holds the release
 * key ran the build by hand. Whoever has the commit makes the same archive and the same bill of materials.
 */

import type { Envelope, EnvelopeFault } from "../proofs/dsse.ts";
import { openStatement, STATEMENT, signStatement } from "../proofs/dsse.ts";
import { fingerprintOf } from "../proofs/issuer-manifest.ts";
import { isMembers, member } from "../proofs/reading.ts";

const PREDICATE = "https://slsa.dev/provenance/v1";
/** Names of ours that need nobody's web server. */
const BUILD_TYPE = "urn:casemate:release:v1";
const BUILDER = "urn:casemate:builder:holder-of-the-release-key";

export interface ReleaseFile {
  /** As it lies in the release's folder. */
  name: string;
  /** Hex. */
  sha256: string;
}

export interface ReleaseFacts {
  version: string;
  /** Of git, hex: what the archive has the tree of. */
  commit: string;
  files: ReleaseFile[];
  /** Locks that say what is installed and what images are made of. */
  locks: ReleaseFile[];
  /** Versions of the programs that made the files. */
  tools: Record<string, string>;
  startedAt: string;
  finishedAt: string;
}

/** `sign` holds the private key of `spki`; this library never does. */
export function signRelease(
  facts: ReleaseFacts,
  spki: Uint8Array,
  sign: (message: Uint8Array) => Uint8Array,
): Envelope {
  const described = ({ name, sha256 }: ReleaseFile) => ({ name, digest: { sha256 } });
  const { version, commit, tools } = facts;
  const statement = {
    _type: STATEMENT,
    subject: facts.files.map(described),
    predicateType: PREDICATE,
    predicate: {
      buildDefinition: {
        buildType: BUILD_TYPE,
        externalParameters: { version, commit },
        internalParameters: { tools },
        resolvedDependencies: [
          { name: "casemate", digest: { gitCommit: commit } },
          ...facts.locks.map(described),
        ],
      },
      runDetails: {
        builder: { id: BUILDER },
        metadata: { startedOn: facts.startedAt, finishedOn: facts.finishedAt },
      },
    },
  };
  return signStatement(statement, fingerprintOf(spki), sign);
}

export interface Release {
  version: string;
  commit: string;
  files: ReleaseFile[];
}

/** What the key (SPKI of a sound one) says of a release; a statement of anything else is none. */
export function openRelease(bytes: Uint8Array | string, spki: Uint8Array): Release | EnvelopeFault {
  const statement = openStatement(bytes, spki);
  if (typeof statement === "string") return statement;
  const { subject, predicateType, predicate } = statement;
  const definition = member(predicate, "buildDefinition");
  const given = member(definition, "externalParameters");
  const [version, commit] = [member(given, "version"), member(given, "commit")];
  if (predicateType !== PREDICATE || member(definition, "buildType") !== BUILD_TYPE)
    return "statement_malformed";
  if (typeof version !== "string" || typeof commit !== "string" || !/^[0-9a-f]{40,64}$/.test(commit))
    return "statement_malformed";
  if (!Array.isArray(subject) || subject.length === 0) return "statement_malformed";
  const files = subject.map(readFile);
  if (!files.every((file) => file !== null)) return "statement_malformed";
  if (new Set(files.map(({ name }) => name)).size !== files.length) return "statement_malformed";
  return { version, commit, files };
}

/** A name leads to a file of the folder that it lies in and nowhere else. */
function readFile(value: unknown): ReleaseFile | null {
  const name = member(value, "name");
  const digest = member(value, "digest");
  const sha256 = isMembers(digest) ? digest.sha256 : null;
  if (typeof name !== "string" || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name)) return null;
  return typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) ? { name, sha256 } : null;
}
