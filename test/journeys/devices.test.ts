// SPDX-License-Identifier: Apache-2.0
/** The third story, as a newcomer lives it: a model uploaded, given to a camera, and run by the edge agent. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { userNamespaces } from "#control/src/core/models/testing.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";
import { startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

describeWith([bubblewrap, userNamespaces], "a model on a device", () => {
  it("runs the README's example as it stands", async () => {
    await using casemate = await startCasemate();
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const block = /## A model on a device[\s\S]*?```sh\n([\s\S]*?)```/.exec(readme)?.[1];
    expect(block, "README has a block under its heading").toBeDefined();
    const folder = mkdtempSync(join(tmpdir(), "casemate-readme-"));
    try {
      // As if it were the clone, so that what is made lies elsewhere.
      for (const name of ["node_modules", "examples", "edge", "models"])
        symlinkSync(join(ROOT, name), join(folder, name));
      const script = block!
        .replaceAll("http://127.0.0.1:8787", casemate.url)
        .replaceAll(
          "./casemate tenants create acme",
          `${join(ROOT, "casemate")} tenants create acme --state ${casemate.state}`,
        );
      const { status, stdout, stderr } = spawnSync("sh", ["-e", "-c", script], {
        ...{ cwd: folder, encoding: "utf8", timeout: 120_000 },
      });
      expect([status, stderr]).toEqual([0, expect.stringContaining("runs what is wanted")]);
      const lines = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(lines.map(({ Frame }) => Frame).sort()).toEqual(["blue.png", "green.png", "red.png"]);
      for (const { Found } of lines)
        expect(Found[0].Detections.map(({ Class }: { Class: string }) => Class)).toContain("Green");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }, 240_000);
});
