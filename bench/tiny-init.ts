// SPDX-License-Identifier: Apache-2.0
/**
 * The least that a kernel can be asked to start: an initramfs with one program of 50 bytes of code, which writes a word and powers
 * off. Written out here, so that the baseline needs no compiler.
 */
import { cpioArchive } from "#images/cpio.ts";

export const TINY_WORD = "up";

const BASE = 0x400000;
const HEADERS_BYTES = 64 + 56;

/** For x86-64: write(1, word); reboot(power off); and should that fail, round and round. */
export function tinyInitrd(): Buffer {
  const word = Buffer.from(`${TINY_WORD}\n`);
  const code = Buffer.from(
    [
      ...["b801000000", "bf01000000", "488d351f000000", `ba0${word.length}000000`, "0f05"],
      ...["b8a9000000", "bfaddee1fe", "be69191228", "badcfe2143", "0f05", "ebfe"],
    ].join(""),
    "hex",
  );
  const bytes = HEADERS_BYTES + code.length + word.length;
  const head = Buffer.alloc(HEADERS_BYTES);
  head.write("\x7fELF\x02\x01\x01", "latin1");
  // A program, for x86-64, of version 1.
  head.writeUInt16LE(2, 16);
  head.writeUInt16LE(62, 18);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(BigInt(BASE + HEADERS_BYTES), 24);
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  // Loaded whole, to be read and run.
  head.writeUInt32LE(1, 64);
  head.writeUInt32LE(5, 68);
  head.writeBigUInt64LE(BigInt(BASE), 80);
  head.writeBigUInt64LE(BigInt(BASE), 88);
  head.writeBigUInt64LE(BigInt(bytes), 96);
  head.writeBigUInt64LE(BigInt(bytes), 104);
  head.writeBigUInt64LE(4096n, 112);
  return cpioArchive([{ path: "init", bytes: Buffer.concat([head, code, word]), mode: 0o755 }]);
}
