// SPDX-License-Identifier: Apache-2.0
/** The one script, on a folder made to look as npm leaves it. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

const SCRIPT = new URL("../casemate", import.meta.url).pathname;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-script-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function program(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), `#!/bin/sh\n${text}\n`);
  chmodSync(join(folder, path), 0o755);
}

it.each(["x64", "arm64"])("runs on the pinned node of %s also where npm has not linked it", (arch) => {
  copyFileSync(SCRIPT, join(folder, "casemate"));
  const lock = "{}";
  writeFileSync(join(folder, "package-lock.json"), lock);
  mkdirSync(join(folder, "node_modules/.bin"), { recursive: true });
  const mark = createHash("sha256").update(lock).digest("hex");
  writeFileSync(join(folder, "node_modules/.casemate-installed"), `${mark}\n`);
  program(`node_modules/node-linux-${arch}/bin/node`, 'echo pinned "$4"');
  program("system/node", 'if [ "$1" = -p ]; then echo 18; else echo "the machine\'s own"; fi');
  const run = () =>
    spawnSync("sh", [join(folder, "casemate"), "help", "me"], {
      encoding: "utf8",
      env: { PATH: `${join(folder, "system")}:/usr/bin:/bin` },
    });
  expect([run().stdout, run().stderr]).toEqual(["pinned me\n", ""]);
  // What starts it without the script (the service files) finds it there.
  expect(existsSync(join(folder, "node_modules/.bin/node"))).toBe(true);
});
