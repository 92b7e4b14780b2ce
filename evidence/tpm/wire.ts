// SPDX-License-Identifier: Apache-2.0
/**
 * Reads and writes what a TPM 2.0 says (TPM 2.0 Library, part 2): numbers most significant byte first, buffers
 * with their size before them. Everything is read before any signature was checked, so whoever wrote it
 * is the attacker: nothing is read beyond an end, and a reader says when it must be the end.
 */
import { concatBytes } from "../bytes.ts";

/** The bytes are not what they must be. The message names the rule, never the bytes. */
export class TpmFault extends Error {}

export class TpmReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #littleEndian: boolean;
  #at = 0;

  /** @param littleEndian As firmware writes its log; a TPM itself never does. */
  constructor(bytes: Uint8Array, littleEndian = false) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#littleEndian = littleEndian;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  #take(length: number): number {
    if (length > this.left) throw new TpmFault("it is cut off");
    const at = this.#at;
    this.#at += length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), this.#littleEndian);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), this.#littleEndian);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), this.#littleEndian);
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  /** A TPM2B: at most `max` bytes, with their number before them. */
  sized(max: number): Uint8Array {
    const length = this.u16();
    if (length > max) throw new TpmFault("a buffer is larger than its kind may be");
    return this.bytes(length);
  }

  end(): void {
    if (this.left > 0) throw new TpmFault("bytes follow it");
  }
}

export const u16 = (value: number) => Uint8Array.of(value >> 8, value & 0xff);
export const u32 = (value: number) => concatBytes(u16(value >>> 16), u16(value & 0xffff));
export const sized = (bytes: Uint8Array) => concatBytes(u16(bytes.length), bytes);

export const ALG = {
  rsa: 0x0001,
  aes: 0x0006,
  sha256: 0x000b,
  null: 0x0010,
  rsassa: 0x0014,
  rsapss: 0x0016,
  ecdsa: 0x0018,
  ecc: 0x0023,
  cfb: 0x0043,
} as const;
export const P256 = 0x0003;
