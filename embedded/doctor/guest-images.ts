// SPDX-License-Identifier: Apache-2.0
/** Whether images for virtual machines can be built here, and which were. Their files are not hashed: `images list` does. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { RECIPES } from "#images/recipe.ts";
import { ARCHIVE_KEYS } from "#images/sources.ts";
import { findImage } from "#images/store.ts";
import { BUILD_TOOLS, KEYS_PACKAGE } from "#images/tools.ts";
import { apt, type Check, missing, ok, warning } from "./check.ts";
import { findOnPath } from "./program.ts";

export const guestImages: Check = {
  id: "guest-images",
  group: "virtual machines",
  name: "guest images",
  needed: [],
  timeoutMs: 2_000,
  look: async (here) => {
    const found = Object.keys(RECIPES).map((name) => ({
      name,
      image: findImage(join(here.state, "images"), name),
    }));
    const built = found.flatMap(({ image }) =>
      image === undefined ? [] : [`${image.metadata.name} ${image.metadata.version}`],
    );
    const lacking = found.flatMap(({ name, image }) => (image === undefined ? [name] : []));
    if (lacking.length === 0) return ok(`${built.join(" and ")} are built`);
    const state =
      built.length === 0 ? "none built" : `${built.join(", ")} is built, ${lacking.join(", ")} not`;
    const absent = Object.entries(BUILD_TOOLS).filter(([tool]) => findOnPath(here, tool) === null);
    if (!existsSync(here.root + ARCHIVE_KEYS)) absent.push(["Debian's archive keys", KEYS_PACKAGE]);
    const names = absent.map(([tool]) => tool).join(", ");
    if (absent.length > 0)
      return missing(
        `${state}, and no ${names} to build one`,
        apt(here, ...new Set(absent.map(([, pack]) => pack))),
      );
    const line = `./casemate images build ${lacking[0]} --state ${here.state}`;
    return warning(state, here.uid === 0 ? line : `sudo ${line}`);
  },
};
