// SPDX-License-Identifier: Apache-2.0
/**
 * Closes every descriptor that whoever started us left open beyond the standard three. They would pass
 * to every part and into every sandbox, where a command could read through them what its user never
 * meant to hand over (tried: a root-only file, open in the shell that ran `up`, was read from a session).
 * Our own are all close-on-exec, which is how they are told apart. One is not: the file of certificates that
 * Node reads at its start, in a thread of its own, when the environment names one. Closed under it, its number
 * was given to the next file, which that thread then closed (seen: the lock of the state folder).
 */
import { closeSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";

const CLOSE_ON_EXEC = 0o2000000;

export function closeInherited(): number {
  const certificates = realPathOf(process.env.NODE_EXTRA_CA_CERTS);
  let closed = 0;
  for (const name of readdirSync("/proc/self/fd")) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      const flags = Number.parseInt(
        /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "",
        8,
      );
      if ((flags & CLOSE_ON_EXEC) !== 0) continue;
      if (certificates !== null && readlinkSync(`/proc/self/fd/${fd}`) === certificates) continue;
      closeSync(fd);
      closed++;
    } catch {
      // The one the listing itself was read through is gone already.
    }
  }
  return closed;
}

function realPathOf(path: string | undefined): string | null {
  try {
    return path === undefined ? null : realpathSync(path);
  } catch {
    return null;
  }
}
