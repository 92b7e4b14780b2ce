// SPDX-License-Identifier: Apache-2.0
/**
 * Public test data of SEV-SNP and TDX that is not ours to keep here: reports, certificates and digests of other
 * projects, in the folder that `CASEMATE_VECTORS` names. Suites that need it are skipped without.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Requirement } from "./requirements.ts";
import { vectorsFolder } from "./seed.ts";

export const snpFolder = join(vectorsFolder, "snp");

export const snpVectors: Requirement = {
  met: existsSync(join(snpFolder, "cases.json")),
  reason: "needs the public test data of SEV-SNP (CASEMATE_VECTORS)",
};

export const tdxFolder = join(vectorsFolder, "tdx");

export const tdxVectors: Requirement = {
  met: existsSync(join(tdxFolder, "cases.json")),
  reason: "needs the public test data of TDX (CASEMATE_VECTORS)",
};

export const proofsFolder = join(vectorsFolder, "proofs");
export const auditProofs: Requirement = {
  met: existsSync(join(proofsFolder, "corpus/index.json")),
  reason: "needs the public corpus of AuditProof documents (CASEMATE_VECTORS)",
};
