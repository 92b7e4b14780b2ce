// SPDX-License-Identifier: Apache-2.0
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { BUILD_TOOLS, lackingForBuild } from "./tools.ts";

test("a machine that cannot build is told what to install, or that it takes root, in one line", () => {
  const here = Object.entries(BUILD_TOOLS).filter(
    ([tool]) => !["/usr/bin", "/usr/sbin", "/bin", "/sbin"].some((folder) => existsSync(`${folder}/${tool}`)),
  );
  const lacking = [lackingForBuild(0), lackingForBuild(1_000)];
  for (const [tool, name] of here) {
    expect(lacking[0]).toMatch(new RegExp(`${tool}.* missing: apt-get install -y .*${name}`));
    expect(lacking[1]).toMatch(new RegExp(`${tool}.* missing: sudo apt-get install -y .*${name}`));
  }
  if (here.length === 0) expect(lacking).toEqual([null, expect.stringMatching(/needs root/)]);
  expect(lacking.join("")).not.toMatch(/\n/);
});
