// SPDX-License-Identifier: Apache-2.0
/**
 * Room kept for the day the disk is full, whoever filled it. PostgreSQL can neither end a transaction
 * nor restart without a little room for its log, and the proofs of running sessions want to be kept.
 *
 *  A. While the reserve exists, nobody else can take those bytes.
 *  B. When less than LOW is left besides, it is removed and no more work is taken: creates and
 *     commands are refused (503), reading and ending go on, on the room that this gave back.
 *  C. It is made again, and work taken again, once there is room for it with twice LOW to spare. In
 *     between nothing changes, or a disk at the edge would open and close with every log line.
 *
 * What fills the disk may also fill what the reserve gave back. PostgreSQL then stops at the worst, and
 * is started again until there is room.
 */
import { randomBytes } from "node:crypto";
import { open, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const MIB = 1024 * 1024;
const RESERVE = 32 * MIB;
const LOW = 16 * MIB;
const LOOK_MS = 250;

export interface Reserve {
  /** True while there is no room for more work. */
  low(): boolean;
  stop(): Promise<void>;
}

/** `changed` is told when work can no longer, or again, be taken. */
export async function keepReserve(folder: string, changed: (low: boolean) => void): Promise<Reserve> {
  const path = join(folder, "reserve");
  const stopping = new AbortController();
  let low = !(await holds(path));
  let begun = false;
  const look = async () => {
    const { bavail, bsize } = await statfs(folder);
    const free = bavail * bsize;
    const before = low;
    if (!low && free < LOW) {
      await rm(path, { force: true });
      low = true;
    } else if (low && free >= RESERVE + 2 * LOW) low = !(await make(path));
    // The first look finds what is; nothing changed by it. Whoever has no room at the start is told.
    if (begun ? low !== before : low) changed(low);
    begun = true;
  };
  await look();
  const life = (async () => {
    while (!stopping.signal.aborted) {
      await sleep(LOOK_MS, undefined, { signal: stopping.signal }).catch(() => {});
      // A folder that cannot be asked is no reason to end; the next look may be luckier.
      await look().catch(() => {});
    }
  })();
  return {
    low: () => low,
    stop: async () => {
      stopping.abort();
      await life;
    },
  };
}

const holds = (path: string): Promise<boolean> =>
  stat(path).then(
    ({ size }) => size === RESERVE,
    () => false,
  );

/** Random bytes, because a file system that compresses keeps no room for zeros. */
async function make(path: string): Promise<boolean> {
  const beside = `${path}.new`;
  try {
    const file = await open(beside, "w", 0o600);
    try {
      const chunk = randomBytes(MIB);
      for (let at = 0; at < RESERVE; at += MIB) await file.write(chunk);
    } finally {
      await file.close();
    }
    await rename(beside, path);
    return true;
  } catch {
    await rm(beside, { force: true }).catch(() => {});
    return false;
  }
}
