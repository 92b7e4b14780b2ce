// SPDX-License-Identifier: Apache-2.0
/**
 * The registers of a TPM that an honest boot of an image comes to, from the image and its command line alone; what it measures is
 * in boot-events.ts.
 *
 * A verifier needs all four. A line from outside stands in for one inside the image without a trace in 4 and
 * 11, so an image here has none, and one who leaves 9 or 12 out accepts any root file system. Words that the stub
 * is handed in firmware's tables (SMBIOS, "kernel-cmdline-extra") join the line, and are in 9 and 12 too, in no other.
 */
import { hexOf } from "../bytes.ts";
import { sha256, sha384 } from "../primitives.ts";
import { type BootFacts, bootEventsOf, MEASURED_SECTIONS } from "./boot-events.ts";
import { extended, initial } from "./event-log.ts";
import { authenticodeSha256, authenticodeSha384, sectionsOf } from "./pe.ts";
import { TpmFault } from "./wire.ts";

export const REQUIRED_PCRS = [4, 9, 11, 12] as const;
export type RequiredPcr = (typeof REQUIRED_PCRS)[number];

/**
 * An image with one of these would come to values that nobody computes here: of some the stub makes more of an initramfs, which 9 is
 * then of, others choose between sections.
 */
const UNKNOWN = [...[".osrel", ".ucode", ".pcrsig", ".pcrpkey", ".profile", ".dtbauto", ".hwids", ".efifw"]];
/** What the stub says of itself. Another one measures other sections, in another order. */
const STUB_MARK = "#### LoaderInfo: systemd-stub 257.";

/** From the image itself, with all hashes. Throws `TpmFault`. */
export async function bootFactsOf(image: Uint8Array): Promise<BootFacts> {
  const sections = sectionsOf(image);
  const kernel = sections.get(".linux");
  if (kernel === undefined) throw new TpmFault("it has no kernel");
  if (UNKNOWN.some((name) => sections.has(name)))
    throw new TpmFault("it has a section that is not known here");
  const mark = new TextDecoder("latin1").decode(sections.get(".sdmagic")?.bytes ?? new Uint8Array());
  if (!mark.startsWith(STUB_MARK)) throw new TpmFault("its stub is not the one that is known here");
  const measured = MEASURED_SECTIONS.flatMap((name) => sections.get(name) ?? []);
  return {
    uki: {
      authenticodeSha256: await authenticodeSha256(image),
      authenticodeSha384: await authenticodeSha384(image),
      sections: await Promise.all(
        measured.map(async ({ name, bytes }) => ({
          ...{ name, sha256: hexOf(await sha256(bytes)), sha384: hexOf(await sha384(bytes)) },
        })),
      ),
    },
    kernelAuthenticodeSha256: await authenticodeSha256(kernel.bytes),
    kernelAuthenticodeSha384: await authenticodeSha384(kernel.bytes),
  };
}

/** In hex, by register. Throws `TpmFault` for an image or a line whose measurement would not be certain. */
export async function expectedPcrs(
  boot: BootFacts,
  commandLine: string,
): Promise<Record<RequiredPcr, string>> {
  const events = await bootEventsOf(boot, commandLine, "sha256");
  const chained = async (register: RequiredPcr) => {
    let value = initial(register);
    for (const { pcr, digest } of events) if (pcr === register) value = await extended(value, digest);
    return hexOf(value);
  };
  return { 4: await chained(4), 9: await chained(9), 11: await chained(11), 12: await chained(12) };
}
