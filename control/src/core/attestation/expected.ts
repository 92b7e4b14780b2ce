// SPDX-License-Identifier: Apache-2.0
/**
 * What evidence of a launch must show, from this installation's own copy of the image, the roots that the machine's host stands under,
 * and what its operator says of processors: the oldest patch level that counts, the firmware. What nobody said is no permission: a
 * policy without a part for a machine's kind accepts nothing of it. What an image and a launch come to is computed here, and never
 * the operator's word.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import {
  launchPolicy,
  snpPolicyOf,
  type TdxFirmware,
  tdxLaunchOf,
  tdxPolicyOf,
} from "#evidence/launch/expect.ts";
import { parsePolicyFile } from "#evidence/policy/file.ts";
import { PROCESSOR_SIGNATURES } from "#evidence/snp/processors.ts";
import { parseCertificate } from "#evidence/x509/certificate.ts";
import { commandLine } from "#images/metadata.ts";
import type { GuestImage } from "./guest-images.ts";

export interface Expected {
  commandLine: string;
  /** A policy file as JSON. */
  policy: object;
}

export interface ExpectationAsk {
  image: GuestImage;
  /** Of the launch manifest, hex. */
  launchSha256: string;
  /** What vouches for the TPM of the machine's host, or of hosts that it may be on: DER in base64, a root last. */
  chains: readonly (readonly string[])[];
  isolation: string;
  cpus: number;
}

export interface ExpectationOptions {
  /** YAML or JSON, as `casemate attest verify --policy` takes it: floors of `snp`, firmware of `tdx`. */
  policyFile: string | null;
  /** With what machines of `vm-snp` are started on the hosts. */
  snp: { firmwareFile: string; cpuModel: string } | null;
}

export type ExpectedOf = (ask: ExpectationAsk) => Promise<Expected>;

/** Throws when a file that the configuration names cannot be used. */
export function openExpectations({ policyFile, snp }: ExpectationOptions): ExpectedOf {
  const said: SaidPolicy = policyFile === null ? {} : readPolicy(policyFile);
  const firmware = snp === null ? null : new Uint8Array(readFileSync(snp.firmwareFile));
  const signature = snp === null ? undefined : PROCESSOR_SIGNATURES.get(snp.cpuModel);
  if (snp !== null && signature === undefined)
    throw new Error(
      `attestation.snp.cpuModel ${snp.cpuModel} is none of ${[...PROCESSOR_SIGNATURES.keys()].join(", ")}`,
    );
  return async ({ image, launchSha256, chains, isolation, cpus }) => {
    const line = commandLine(image.metadata, launchSha256);
    if (isolation === "vm-snp") {
      if (said.snp === undefined || firmware === null || signature === undefined)
        return { commandLine: line, policy: {} };
      const machine = { firmware, signature, processors: cpus };
      const { kernel, initrd } = image.metadata.files;
      const boot = { kernelSha256: kernel.sha256, initrdSha256: initrd.sha256, commandLine: line };
      return { commandLine: line, policy: { snp: await snpPolicyOf(said.snp, machine, boot, launchSha256) } };
    }
    if (isolation === "vm-tdx") {
      if (said.tdx === undefined) return { commandLine: line, policy: {} };
      const launch = await tdxLaunchOf(image.metadata.boot, line, launchSha256);
      // Of the registers only what is computed here counts, whatever the file says of 1 to 3.
      return { commandLine: line, policy: { tdx: tdxPolicyOf(said.tdx, launch) } };
    }
    const roots = chains.flatMap((chain) => chain.at(-1) ?? []);
    const endorsementRoots = [...new Set(roots.map((root) => keyHashOf(Buffer.from(root, "base64"))))];
    return {
      commandLine: line,
      policy: await launchPolicy({ boot: image.metadata.boot, commandLine: line, endorsementRoots }),
    };
  };
}

interface SaidPolicy {
  snp?: object;
  tdx?: TdxFirmware;
}

function readPolicy(file: string): SaidPolicy {
  const value: unknown = parse(readFileSync(file, "utf8"), { uniqueKeys: true, maxAliasCount: 0 });
  const reading = parsePolicyFile(value);
  if (!reading.ok) throw new Error(`${file}: ${reading.faults.join("; ")}`);
  return value as SaidPolicy;
}

const keyHashOf = (der: Uint8Array) => createHash("sha256").update(parseCertificate(der).spki).digest("hex");

/** A host that says what is none is not to stop the others' owners. */
export function isChain(endorsers: string[] | undefined): endorsers is string[] {
  try {
    for (const der of endorsers ?? []) parseCertificate(Buffer.from(der, "base64"));
    return endorsers !== undefined;
  } catch {
    return false;
  }
}
