// SPDX-License-Identifier: Apache-2.0
/**
 * The runtime registers of a guest on TDX that an honest boot of an image comes to. Its firmware measures as a TPM's does, by
 * UEFI's protocol for confidential guests (UEFI 2.10, 38.4.1), that joins a TPM's registers:
 *
 *   MRTD    the firmware itself, by the TDX module
 *   RTMR 0  PCR 1 and 7: what the host tells firmware, tables, variables. It depends on firmware, QEMU and size
 *   RTMR 1  PCR 2 to 6: what firmware starts, and that its services ended
 *   RTMR 2  PCR 8 to 15: what the stubs measure of themselves, with the command line
 *   RTMR 3  nobody's: it stays zero, since no program of our guests extends it
 *
 *  A. Only 1 to 3 are computed here. MRTD and RTMR 0 are reference values of whoever knows the host's firmware.
 *  B. Any code in a guest's kernel can extend any of the four. What it cannot do is begin RTMR 1 with another hash than that of
 *     the program that firmware loaded first: so 1 is worth something only with its MRTD, and 2 and 3 only with 1.
 *
 * Where each of this is from, and what nobody here has run: docs/decisions/0053-registers-of-tdx-are-computed-from-sources.md.
 */
import { concatBytes, hexOf } from "../bytes.ts";
import { sha384 } from "../primitives.ts";
import { type BootFacts, bootEventsOf } from "../tpm/boot-events.ts";

export type ComputedRtmr = 1 | 2 | 3;

const REGISTER_BYTES = 48;
const ZERO = new Uint8Array(REGISTER_BYTES);

/**
 * In hex, by register; null when not all is known of the image, because it was built before this was kept. Throws `TpmFault` for an
 * image or a line whose measurement would not be certain.
 */
export async function expectedRtmrs(
  boot: BootFacts,
  commandLine: string,
): Promise<Record<ComputedRtmr, string> | null> {
  if (boot.uki?.authenticodeSha384 === undefined) return null;
  const registers: Record<ComputedRtmr, Uint8Array> = { 1: ZERO, 2: ZERO, 3: ZERO };
  // Firmware says once for all of PCR 2 to 6 that its part ends, where it says so of each to a TPM: the list has only that of PCR 4.
  for (const { pcr, digest } of await bootEventsOf(boot, commandLine, "sha384")) {
    const register = pcr < 8 ? 1 : 2;
    registers[register] = await sha384(concatBytes(registers[register], digest));
  }
  return { 1: hexOf(registers[1]), 2: hexOf(registers[2]), 3: hexOf(registers[3]) };
}
