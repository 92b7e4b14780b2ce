// SPDX-License-Identifier: Apache-2.0
/** What a build needs of the machine, each with the Debian package that has it. */
import { existsSync } from "node:fs";

const TOOLS: Record<string, string> = {
  "apt-get": "apt",
  "dpkg-deb": "dpkg",
  mmdebstrap: "mmdebstrap",
  "mkfs.erofs": "erofs-utils",
  unshare: "util-linux",
};
const FOLDERS = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/** Why no image can be built here, in a line that says what to do; null when one can. */
export function lackingForBuild(uid: number): string | null {
  const absent = Object.entries(TOOLS).filter(([tool]) => !FOLDERS.some((at) => existsSync(`${at}/${tool}`)));
  const packages = [...new Set(absent.map(([, name]) => name))];
  if (packages.length > 0)
    return `${absent.map(([tool]) => tool).join(", ")} missing: ${uid === 0 ? "" : "sudo "}apt-get install -y ${packages.join(" ")}`;
  // Its files belong to several users, and packages' scripts run in a root of their own.
  return uid === 0 ? null : "building an image needs root: the packages' own scripts run in a chroot";
}
