// SPDX-License-Identifier: Apache-2.0
/** `casemate attest verify https://…`: a running machine, held to an image and a compose file that the verifier has. */
import { createHash } from "node:crypto";
import { fromHex } from "#evidence/bytes.ts";
import {
  launchPolicy,
  type SnpMachine,
  snpPolicyOf,
  type TdxFirmware,
  tdxLaunchOf,
  tdxPolicyOf,
} from "#evidence/launch/expect.ts";
import { judgeServed } from "#evidence/launch/served.ts";
import { FirmwareFault } from "#evidence/snp/launch-firmware.ts";
import { PROCESSOR_SIGNATURES } from "#evidence/snp/processors.ts";
import { TpmFault } from "#evidence/tpm/wire.ts";
import type { EvidenceVerdict } from "#evidence/verify.ts";
import { certificatesOf } from "#evidence/x509/files.ts";
import { commandLine, type ImageMetadata, parseMetadata } from "#images/metadata.ts";
import { bytesOf, imageBytesOf, piecesOf, policyValueOf } from "./evidence-files.ts";
import { askMachine } from "./served-evidence.ts";
import { UsageFault } from "./usage.ts";

export interface ServedOptions {
  policy?: string | undefined;
  image?: string | undefined;
  compose?: string | undefined;
  file?: string[] | undefined;
  roots?: string | undefined;
  nonce?: string | undefined;
  connect?: string | undefined;
  /** Of SEV-SNP: the firmware's file, QEMU's name of the processor, and how many there are. */
  firmware?: string | undefined;
  "cpu-model"?: string | undefined;
  cpus?: string | undefined;
  beside: readonly Uint8Array[];
  atMs: number;
}

export async function judgeMachineAt(address: string, options: ServedOptions): Promise<EvidenceVerdict> {
  const { image, beside, atMs } = options;
  const ofImage = [options.compose, options.file, options.roots, options.firmware, options.cpus];
  if (image === undefined && ofImage.some((one) => one !== undefined))
    throw new UsageFault(
      "--compose, --file, --roots, --firmware and --cpus need --image: a policy names one launch already.",
    );
  const url = addressOf(address);
  const nonce = nonceOf(options.nonce);
  const compose = options.compose === undefined ? undefined : await imageBytesOf(options.compose);
  const files = await filesOf(options.file);
  const policyOf = await expectationOf(options);
  const served = await askMachine(url, {
    ...(nonce !== undefined && { nonce }),
    ...(options.connect !== undefined && { connect: options.connect }),
  });
  return judgeServed(served, {
    ...{ policyOf, beside, atMs },
    ...(compose !== undefined && { compose }),
    ...(files !== undefined && { files }),
  });
}

function addressOf(text: string): URL {
  try {
    return new URL(text);
  } catch (cause) {
    throw new UsageFault(`${text} is no address.`, { cause });
  }
}

function nonceOf(hex: string | undefined): Uint8Array | undefined {
  if (hex === undefined) return undefined;
  const bytes = fromHex(hex);
  if (bytes === null || bytes.length < 16 || bytes.length > 64)
    throw new UsageFault("--nonce is 32 to 128 hex digits.");
  return bytes;
}

export async function filesOf(
  given: readonly string[] | undefined,
): Promise<Map<string, Uint8Array> | undefined> {
  if (given === undefined) return undefined;
  const files = new Map<string, Uint8Array>();
  for (const each of given) {
    const at = each.indexOf("=");
    if (at < 1) throw new UsageFault("--file is <name=file>.");
    files.set(each.slice(0, at), await imageBytesOf(each.slice(at + 1)));
  }
  return files;
}

export type Expecting = Pick<ServedOptions, "image" | "policy" | "roots" | "firmware" | "cpu-model" | "cpus">;

/**
 * With an image a policy says what is accepted of processors and their firmware, and nothing of the launch; without one it is the whole
 * expectation.
 */
export async function expectationOf(options: Expecting): Promise<(launch: string) => Promise<object | null>> {
  const { image, policy, roots } = options;
  const said = policy === undefined ? null : await policyValueOf(policy);
  if (image === undefined) return async () => said;
  const { tdx: firmware, snp: floors, ...others } = (said ?? {}) as SaidOfProcessors;
  // A measurement or registers in the file would be of a launch that is not this image's.
  if (Object.keys(others).length > 0 || (floors !== undefined && "measurements" in floors))
    throw new UsageFault(
      "With --image a policy has the parts snp and tdx alone, without measurements: they are computed.",
    );
  const machine = await snpMachineOf(options, floors !== undefined);
  const metadata = metadataOf(await bytesOf(image));
  const rootKeys = await rootKeysOf(roots);
  return async (launch) => {
    try {
      const { tpm, tdx } = await partsOf(metadata, launch, rootKeys);
      // Who names firmware of a processor's kind expects a processor's word: a TPM, which the host can play, is no answer then.
      if (said === null) return { tpm };
      return {
        ...(firmware !== undefined && { tdx: tdxPolicyOf(firmware, tdx) }),
        ...(machine !== null && { snp: await snpPartOf(metadata, floors!, machine, launch) }),
      };
    } catch (fault) {
      if (fault instanceof TpmFault || fault instanceof FirmwareFault || fault instanceof RangeError)
        throw new UsageFault(`The image cannot be measured: ${fault.message}.`);
      throw fault;
    }
  };
}

interface SaidOfProcessors {
  snp?: object;
  tdx?: TdxFirmware;
}

const snpPartOf = (metadata: ImageMetadata, floors: object, machine: SnpMachine, launchSha256: string) =>
  snpPolicyOf(
    floors,
    machine,
    {
      kernelSha256: metadata.files.kernel.sha256,
      initrdSha256: metadata.files.initrd.sha256,
      commandLine: commandLine(metadata, launchSha256),
    },
    launchSha256,
  );

/** How the host starts machines of SEV-SNP, which is measured; null when nobody asks about them. */
async function snpMachineOf(
  { firmware, "cpu-model": model = "EPYC-v4", cpus }: Expecting,
  isAsked: boolean,
): Promise<SnpMachine | null> {
  if (!isAsked) {
    if ((firmware ?? cpus) !== undefined)
      throw new UsageFault("--firmware and --cpus need a --policy with the part snp.");
    return null;
  }
  const processors = Number(cpus);
  const signature = PROCESSOR_SIGNATURES.get(model);
  if (firmware === undefined || !Number.isInteger(processors) || processors < 1)
    throw new UsageFault("A policy with the part snp needs --firmware and --cpus beside --image.");
  if (signature === undefined)
    throw new UsageFault(`--cpu-model is one of ${[...PROCESSOR_SIGNATURES.keys()].join(", ")}.`);
  return { firmware: await imageBytesOf(firmware), signature, processors };
}

/** What an image comes to with a launch, by kind of machine. Throws `TpmFault` for an image that cannot be measured. */
export async function partsOf(metadata: ImageMetadata, launchSha256: string, rootKeys: string[] | null) {
  const { boot } = metadata;
  const line = commandLine(metadata, launchSha256);
  const { tpm } = await launchPolicy({ boot, commandLine: line, endorsementRoots: rootKeys ?? [] });
  return {
    tpm: rootKeys === null ? { pcrs: tpm.pcrs } : tpm,
    tdx: await tdxLaunchOf(boot, line, launchSha256),
  };
}

export function metadataOf(bytes: Uint8Array) {
  try {
    return parseMetadata(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new UsageFault(cause instanceof Error ? cause.message : "The image's metadata cannot be read.", {
      cause,
    });
  }
}

/** Of certificates in a file or a folder; null when there are none to be asked for. */
export async function rootKeysOf(roots: string | undefined): Promise<string[] | null> {
  return roots === undefined ? null : (await piecesOf(roots)).flatMap(keysIn);
}

function keysIn(file: Uint8Array): string[] {
  try {
    return certificatesOf(file).map(({ spki }) => createHash("sha256").update(spki).digest("hex"));
  } catch {
    return [];
  }
}
