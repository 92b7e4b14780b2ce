// SPDX-License-Identifier: Apache-2.0
/**
 * Random bytes for ids, salts and nonces, drawn from the system's generator in large pieces: a trip to
 * it costs as much as sealing a small value. Bytes are handed out once, and wiped here as they are. Not
 * for keys: what lies in the pool is known to whoever reads this process's memory before it is used.
 */
import { randomFillSync } from "node:crypto";

const POOL = 8192;
const pool = Buffer.allocUnsafeSlow(POOL);
let at = POOL;

/** `size` is at most a pool. */
export function pooledBytes(size: number): Buffer {
  if (at + size > POOL) {
    randomFillSync(pool);
    at = 0;
  }
  const bytes = Buffer.from(pool.subarray(at, at + size));
  pool.fill(0, at, at + size);
  at += size;
  return bytes;
}
