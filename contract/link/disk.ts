// SPDX-License-Identifier: Apache-2.0
/**
 * A disk on its way from one host to another, through control, which looks at none of it. On channel 0 of a `disk-get` stream, and
 * of the `disk-put` stream that takes the same bytes on, there are parts: where on the disk (8 bytes), how many (4), all
 * big-endian, then that many. Parts come in the order of the disk and do not meet; what no part holds is zeros.
 * Places and lengths are whole blocks. A part of no bytes says how far the reader has come, and the last one how large the disk is.
 *
 * Behind the bytes of a `disk-put`, on channel 1, comes a DiskWhole: without it, or with another, they are no disk.
 */
import { type Static, Type } from "typebox";

/** Of what was on channel 0, and the size of the disk. */
export const DiskWhole = Type.Object(
  {
    sizeBytes: Type.Integer({ minimum: 0 }),
    sha256: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  },
  { additionalProperties: false },
);
export type DiskWhole = Static<typeof DiskWhole>;

export const WHOLE_CHANNEL = 1;
export const BLOCK_BYTES = 4096;
export const HEAD_BYTES = 12;
/** One part with its head fits in a chunk of the link. */
export const PART_BYTES_MAX = 63 * BLOCK_BYTES;
/** So often at least a reader of nothing but zeros says how far it is. */
export const SAID_EVERY_BYTES = 64 * 1024 * 1024;

const MIB = 1024 * 1024;

/** More than this comes from no host that does as it should. */
export function streamBytesMax(diskMiB: number): number {
  const diskBytes = diskMiB * MIB;
  const heads = diskBytes / BLOCK_BYTES + diskBytes / SAID_EVERY_BYTES + 2;
  return diskBytes + Math.ceil(heads) * HEAD_BYTES;
}
