// SPDX-License-Identifier: Apache-2.0
/**
 * The few generated files a session sees of its root: /etc and /usr/local. Made once per driver in
 * its own folder and bound read-only, because each file handed to bubblewrap by descriptor instead
 * would cost a pipe and a copy on the path of every create.
 */
import { cpSync, existsSync, lstatSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The uid and gid a session's programs see, whatever the host's number is. */
export const INSIDE_ID = 1000;

/**
 * Taken over from the host's /etc when there. Copied and not bound: each bind costs bubblewrap two
 * mounts and a reading of mountinfo on every create. Links stay links, and lead into /usr.
 */
const HOST_ETC = [
  "ld.so.cache",
  "ld.so.conf",
  "ld.so.conf.d",
  "alternatives",
  "ssl/certs",
  "ssl/openssl.cnf",
];

const FILES: Record<string, string> = {
  passwd: `root:x:0:0:root:/root:/usr/sbin/nologin\nsession:x:${INSIDE_ID}:${INSIDE_ID}:session:/session:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
  group: `root:x:0:\nsession:x:${INSIDE_ID}:\nnogroup:x:65534:\n`,
  hosts: "127.0.0.1 localhost session\n::1 localhost\n",
  hostname: "session\n",
  "host.conf": "multi on\n",
  "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
  "resolv.conf": "",
};

export interface Skeleton {
  etc: string;
  local: string;
}

export function prepareSkeleton(folder: string): Skeleton {
  const etc = join(folder, "etc");
  const local = join(folder, "local");
  for (const made of [etc, local]) rmSync(made, { recursive: true, force: true });
  mkdirSync(join(etc, "ssl"), { recursive: true, mode: 0o755 });
  mkdirSync(join(local, "bin"), { recursive: true, mode: 0o755 });
  writeNames(etc);
  for (const name of HOST_ETC)
    if (existsSync(`/etc/${name}`))
      cpSync(`/etc/${name}`, join(etc, name), { recursive: true, verbatimSymlinks: true, filter: isPublic });
  // Debian installs python3 only; the wire contract promises `python` when the host has one.
  if (!existsSync("/usr/bin/python") && existsSync("/usr/bin/python3"))
    symlinkSync("/usr/bin/python3", join(local, "bin", "python"));
  return { etc, local };
}

/** The users, hosts and sources of names that every session's root has. */
export function writeNames(etc: string): void {
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(etc, name), text, { mode: 0o644 });
}

/** What only root may read stays with the host; /etc/ssl and the like should hold none, but they are not ours. */
function isPublic(path: string): boolean {
  const stat = lstatSync(path);
  return stat.isSymbolicLink() || (stat.mode & 0o004) !== 0;
}
