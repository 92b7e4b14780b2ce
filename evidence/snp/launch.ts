// SPDX-License-Identifier: Apache-2.0
/**
 * Computes what a guest's report will say as its measurement, from the files that it is started from: so a
 * verifier can name the reference value before anything runs, and need not take it from the operator.
 * The order is QEMU's: the firmware, its metadata's pages, then one save area per processor.
 */
import { FirmwareFault, readFirmware, SECTION } from "./launch-firmware.ts";
import { type DirectBoot, hashesPage } from "./launch-hashes.ts";
import { LaunchDigest, PAGE_BYTES } from "./launch-page.ts";
import { FIRST_START, type Processor, saveArea } from "./launch-save-area.ts";

export interface Launch extends Processor {
  firmware: Uint8Array;
  processors: number;
  /** Null when the firmware boots from a disk; then nothing of that disk is in the measurement. */
  boot: DirectBoot | null;
}

const PROCESSORS_MAX = 512;

/** 48 bytes. Throws `FirmwareFault` for a firmware that cannot be started so. */
export async function launchDigest(launch: Launch): Promise<Uint8Array> {
  const { processors, boot } = launch;
  if (!Number.isInteger(processors) || processors < 1 || processors > PROCESSORS_MAX)
    throw new RangeError(`a guest has from 1 to ${PROCESSORS_MAX} processors`);
  const firmware = readFirmware(launch.firmware);
  const measured = new LaunchDigest();
  await measured.addPages(firmware.address, firmware.bytes);
  let hashed = false;
  for (const { address, length, type } of firmware.sections) {
    const at = BigInt(address);
    if (type === SECTION.memory || type === SECTION.callingArea) await measured.addZeroPages(at, length);
    else if (type === SECTION.secrets) await measured.addSecretsPage(at);
    else if (type === SECTION.cpuid) await measured.addCpuidPage(at);
    else if (type !== SECTION.kernelHashes)
      throw new FirmwareFault("the firmware has a section of unknown type");
    else if (boot === null) await measured.addZeroPages(at, length);
    else {
      const table = firmware.hashTableAddress;
      if (table === null || length !== PAGE_BYTES || table < address || table >= address + PAGE_BYTES)
        throw new FirmwareFault("the firmware's table of hashes is not in the page for it");
      await measured.addPages(at, await hashesPage(boot, table - address));
      hashed = true;
    }
  }
  // A firmware without the page would start any kernel, whatever the measurement says.
  if (boot !== null && !hashed)
    throw new FirmwareFault("a kernel is given, but the firmware has no page for hashes");
  if (processors > 1 && firmware.resetAddress === null)
    throw new FirmwareFault("the firmware does not say where further processors start");
  for (let index = 0; index < processors; index++)
    await measured.addSaveArea(saveArea(index === 0 ? FIRST_START : firmware.resetAddress!, launch));
  return measured.digest;
}
