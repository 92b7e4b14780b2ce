// SPDX-License-Identifier: Apache-2.0
/**
 * The policy that exactly one launch of exactly one image meets, computed from what everybody can have before anything
 * runs: the image's metadata and the launch manifest's hash. What only one installation knows — firmware of a processor's
 * kind, the oldest patch level it accepts — is added by whoever knows it.
 */
import { hexOf } from "../bytes.ts";
import { launchDigest } from "../snp/launch.ts";
import { expectedRtmrs } from "../tdx/expected.ts";
import type { BootFacts } from "../tpm/boot-events.ts";
import { expectedPcrs } from "../tpm/expected.ts";

export interface LaunchExpectation {
  boot: BootFacts;
  /** The whole kernel command line, with the root's hash and the launch's. */
  commandLine: string;
  /** SHA-256 of the keys of roots that may vouch for a TPM, hex. */
  endorsementRoots: readonly string[];
}

/** Of a policy file (evidence/policy/file.ts), as JSON. Throws `TpmFault` for an image or a line whose registers cannot be known. */
export async function launchPolicy({ boot, commandLine, endorsementRoots }: LaunchExpectation): Promise<{
  tpm: { pcrs: Record<string, string[]>; endorsementRoots: readonly string[] };
}> {
  const pcrs = Object.entries(await expectedPcrs(boot, commandLine));
  return {
    tpm: { pcrs: Object.fromEntries(pcrs.map(([pcr, value]) => [pcr, [value]])), endorsementRoots },
  };
}

/** Of a policy's part for TDX, what a launch comes to; without a firmware's `mrTds` and register 0 it accepts nothing. */
export interface TdxLaunch {
  /** 1 to 3; none of an image that was built before its hashes of SHA-384 were kept. */
  rtmrs: Record<string, string[]>;
  mrConfigIds: string[];
}

/**
 * Of TDX. The proof of the launch is the command line in register 2; MRCONFIGID is what the host writes, and only held to it too.
 * Throws `TpmFault` as above.
 */
export async function tdxLaunchOf(
  boot: BootFacts,
  commandLine: string,
  launchSha256: string,
): Promise<TdxLaunch> {
  const rtmrs = Object.entries((await expectedRtmrs(boot, commandLine)) ?? {});
  return {
    rtmrs: Object.fromEntries(rtmrs.map(([register, value]) => [register, [value]])),
    mrConfigIds: [mrConfigIdOf(launchSha256)],
  };
}

/** What whoever knows a host's firmware says of it: a policy's part for TDX, of which registers 1 to 3 do not count here. */
export interface TdxFirmware {
  rtmrs?: { 0?: readonly string[] | "any" };
}

/**
 * The part for TDX that exactly one launch on a firmware meets. What a firmware does before the image is in register 0 alone, so `any` of
 * it would be any command in any of a host's tables: left out, the verdict says that it is missing.
 */
export function tdxPolicyOf(firmware: TdxFirmware, launch: TdxLaunch): TdxFirmware & TdxLaunch {
  const first = firmware.rtmrs?.[0];
  const rtmrs = { ...(Array.isArray(first) && { 0: first as string[] }), ...launch.rtmrs };
  return { ...firmware, rtmrs, mrConfigIds: launch.mrConfigIds };
}

/** The register is as wide as SHA-384: behind the hash are 16 zero bytes (drivers/qemu/confidential.ts). */
const mrConfigIdOf = (launchSha256: string) => launchSha256.padEnd(96, "0");

const SEV_SNP_ACTIVE = 1n;

/** How a host starts a machine on SEV-SNP. */
export interface SnpMachine {
  firmware: Uint8Array;
  /** Of PROCESSOR_SIGNATURES (evidence/snp/processors.ts). */
  signature: number;
  processors: number;
}

/**
 * The part for SEV-SNP that exactly one launch meets, of what somebody says of processors: floors and the like. Kernel and initramfs
 * count by the image's metadata, which are what was approved, and not by files that lie somewhere.
 */
export async function snpPolicyOf(
  said: object,
  { firmware, signature, processors }: SnpMachine,
  boot: { kernelSha256: string; initrdSha256: string; commandLine: string },
  launchSha256: string,
): Promise<object> {
  const measurement = await launchDigest({ firmware, signature, processors, features: SEV_SNP_ACTIVE, boot });
  return { ...said, measurements: [hexOf(measurement)], hostData: [launchSha256] };
}
