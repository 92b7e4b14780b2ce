// SPDX-License-Identifier: Apache-2.0
/** Builds that come to nothing, since there is nothing to fetch; what comes of whole ones is keep.deep.test.ts's. */
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lackingForBuild } from "#images/tools.ts";
import { findProcesses } from "#testing/process-status.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { type Layout, prepareLayout } from "../layout.ts";
import { type ImageKeeper, keepImages } from "./keep.ts";

const LIMIT_MS = 120_000;
const tools = { met: lackingForBuild(0) === null, reason: lackingForBuild(0) ?? "" };

let folder: string;
let layout: Layout;
let keeper: ImageKeeper | null = null;
let said: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-keep-"));
  layout = prepareLayout(join(folder, "state"));
  said = [];
});
afterEach(async () => {
  await keeper?.stop();
  keeper = null;
  layout.clear();
  rmSync(folder, { recursive: true, force: true });
});
const keep = (change: { build?: boolean; sources?: string | null }) => {
  const choice = { build: true, lockFolder: null, sources: null, ...change };
  keeper = keepImages(layout, choice, (line) => said.push(line));
  return keeper;
};
const halves = () => readdirSync(layout.path("images")).filter((name) => name.startsWith(".work"));

describeWith([root, tools], "images in the background", () => {
  test(
    "that cannot be built are said with the reason, each once, and nothing is left of them, nor of one before",
    async () => {
      const sources = join(folder, "sources.list");
      writeFileSync(sources, "");
      // Of a build that was killed.
      mkdirSync(layout.path("images", ".work-before", "root"), { recursive: true });
      keep({ sources });
      const ends = () => said.filter((line) => line.includes("was not built"));
      await expect
        .poll(ends, { timeout: LIMIT_MS })
        .toEqual([
          expect.stringMatching(/^image containers was not built .* cannot be had from the package sources/),
          expect.stringMatching(/^image base was not built .* cannot be had from the package sources/),
          expect.stringMatching(/^image openclaw was not built .* cannot be had from the package sources/),
        ]);
      expect(said[0]).toBe("image containers [1/7] packages");
      expect(halves()).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "end with the installation, in the middle, and take their half away",
    async () => {
      // A mirror that takes questions and does not answer.
      const asked = Promise.withResolvers<void>();
      const mirror = createServer(() => asked.resolve()).listen(0, "127.0.0.1");
      await once(mirror, "listening");
      const sources = join(folder, "sources.list");
      const { port } = mirror.address() as AddressInfo;
      writeFileSync(sources, `deb http://127.0.0.1:${port}/ trixie main\n`);
      const { stop } = keep({ sources });
      await asked.promise;
      const waiting = () => findProcesses("apt-get", layout.state);
      expect(waiting()).not.toEqual([]);
      expect(halves()).toHaveLength(1);
      await stop();
      await expect.poll(waiting).toEqual([]);
      expect(halves()).toEqual([]);
      expect(said.filter((line) => line.includes("not built"))).toEqual([]);
      mirror.close();
    },
    LIMIT_MS,
  );

  test("are not begun when the configuration says so", async () => {
    await keep({ build: false }).stop();
    expect(findProcesses("images", layout.state)).toEqual([]);
    expect(said).toEqual([]);
  });
});
