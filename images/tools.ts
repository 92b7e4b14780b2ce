// SPDX-License-Identifier: Apache-2.0
/** Whether this machine can build an image, before anything is begun. */
import { existsSync } from "node:fs";
import { ARCHIVE_KEYS } from "./sources.ts";

/** What a build needs, each with the Debian package that has it. */
export const BUILD_TOOLS: Record<string, string> = {
  "apt-get": "apt",
  "dpkg-deb": "dpkg",
  mmdebstrap: "mmdebstrap",
  "mkfs.erofs": "erofs-utils",
  unshare: "util-linux",
  xz: "xz-utils",
};
/** The package that has what Debian signs its archives with. */
export const KEYS_PACKAGE = "debian-archive-keyring";
const FOLDERS = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/** Why no image can be built here, in a line that says what to do; null when one can. */
export function lackingForBuild(uid: number): string | null {
  const absent = Object.entries(BUILD_TOOLS).filter(
    ([tool]) => !FOLDERS.some((at) => existsSync(`${at}/${tool}`)),
  );
  if (!existsSync(ARCHIVE_KEYS)) absent.push([ARCHIVE_KEYS, KEYS_PACKAGE]);
  const packages = [...new Set(absent.map(([, name]) => name))];
  if (packages.length > 0)
    return `${absent.map(([tool]) => tool).join(", ")} missing: ${uid === 0 ? "" : "sudo "}apt-get install -y ${packages.join(" ")}`;
  // Its files belong to several users, and packages' scripts run in a root of their own.
  return uid === 0 ? null : "building an image needs root: the packages' own scripts run in a chroot";
}
