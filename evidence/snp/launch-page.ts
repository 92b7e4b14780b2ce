// SPDX-License-Identifier: Apache-2.0
/**
 * The launch digest as the firmware builds it (56860, "SNP_LAUNCH_UPDATE", PAGE_INFO): a chain of SHA-384
 * over one record per page, in the order in which pages are given to it.
 */
import { sha384 } from "../primitives.ts";

export const PAGE_BYTES = 4096;
/** Where KVM says that a save area lies: the last page below the guest's 48 address bits. */
const SAVE_AREA_ADDRESS = 0xfffffffff000n;
const RECORD_BYTES = 0x70;
const DIGEST_BYTES = 48;

/** Page types of PAGE_INFO. */
const TYPE = { normal: 1, saveArea: 2, zero: 3, secrets: 5, cpuid: 6 } as const;

export class LaunchDigest {
  digest: Uint8Array = new Uint8Array(DIGEST_BYTES);

  /** `bytes` are whole pages, from `address` on. */
  async addPages(address: bigint, bytes: Uint8Array): Promise<void> {
    if (bytes.length % PAGE_BYTES !== 0) throw new RangeError("what is measured must be whole pages");
    const contents: Promise<Uint8Array>[] = [];
    for (let at = 0; at < bytes.length; at += PAGE_BYTES)
      contents.push(sha384(bytes.subarray(at, at + PAGE_BYTES)));
    for (const [index, content] of (await Promise.all(contents)).entries())
      await this.add(TYPE.normal, address + BigInt(index * PAGE_BYTES), content);
  }

  async addZeroPages(address: bigint, length: number): Promise<void> {
    if (length % PAGE_BYTES !== 0) throw new RangeError("what is measured must be whole pages");
    for (let at = 0; at < length; at += PAGE_BYTES) await this.add(TYPE.zero, address + BigInt(at), null);
  }

  addSecretsPage(address: bigint): Promise<void> {
    return this.add(TYPE.secrets, address, null);
  }

  addCpuidPage(address: bigint): Promise<void> {
    return this.add(TYPE.cpuid, address, null);
  }

  async addSaveArea(page: Uint8Array): Promise<void> {
    await this.add(TYPE.saveArea, SAVE_AREA_ADDRESS, await sha384(page));
  }

  /** Permissions of the lesser VMPLs and the migration flag are zero, as QEMU gives them. */
  private async add(type: number, address: bigint, content: Uint8Array | null): Promise<void> {
    const record = new Uint8Array(RECORD_BYTES);
    record.set(this.digest, 0);
    if (content !== null) record.set(content, DIGEST_BYTES);
    const view = new DataView(record.buffer);
    view.setUint16(0x60, RECORD_BYTES, true);
    view.setUint8(0x62, type);
    view.setBigUint64(0x68, address, true);
    this.digest = await sha384(record);
  }
}
