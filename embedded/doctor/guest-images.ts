// SPDX-License-Identifier: Apache-2.0
/** Whether an image for virtual machines can be built here, and whether one was. Its files are not hashed: `images list` does. */
import { join } from "node:path";
import { findImage } from "#images/store.ts";
import { BUILD_TOOLS } from "#images/tools.ts";
import { apt, type Check, missing, ok, warning } from "./check.ts";
import { findOnPath } from "./program.ts";

export const guestImages: Check = {
  id: "guest-images",
  group: "virtual machines",
  name: "guest images",
  needed: [],
  timeoutMs: 2_000,
  look: async (here) => {
    const built = findImage(join(here.state, "images"), "base");
    if (built !== undefined) return ok(`${built.metadata.name} ${built.metadata.version} is built`);
    const absent = Object.entries(BUILD_TOOLS).filter(([tool]) => findOnPath(here, tool) === null);
    const names = absent.map(([tool]) => tool).join(", ");
    if (absent.length > 0)
      return missing(
        `none built, and no ${names} to build one`,
        apt(here, ...new Set(absent.map(([, pack]) => pack))),
      );
    const line = `./casemate images build base --state ${here.state}`;
    return warning("none built", here.uid === 0 ? line : `sudo ${line}`);
  },
};
