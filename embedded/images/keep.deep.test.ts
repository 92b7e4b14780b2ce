// SPDX-License-Identifier: Apache-2.0
/**
 * Images that `casemate up` builds beside everything else. The locks are made anew for it: what the committed ones name may be gone
 * from the sources by the day this runs.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { qemu } from "#drivers/qemu/testing.ts";
import { commandLine } from "#images/metadata.ts";
import { findImage } from "#images/store.ts";
import { bootOnce } from "#images/testing.ts";
import { lackingForBuild } from "#images/tools.ts";
import { findProcesses } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { startCasemate } from "#testing/running-casemate.ts";

const CASEMATE = new URL("../../casemate", import.meta.url).pathname;
const run = promisify(execFile);
/** As long as a slow machine with much else to do may take: nothing is claimed by it. */
const BUILD_MS = 600_000;
const tools = { met: lackingForBuild(0) === null, reason: lackingForBuild(0) ?? "" };

describeWith([root, tools, bubblewrap], "images that are built while an installation runs", () => {
  const folder = mkdtempSync(join(tmpdir(), "casemate-keep-"));
  const state = join(folder, "state");
  const config = join(folder, "config.json");
  beforeAll(async () => {
    const lockFolder = join(folder, "locks");
    mkdirSync(lockFolder);
    for (const name of ["base", "containers", "openclaw"]) {
      const lock = join(lockFolder, `${name}.lock.json`);
      await run(CASEMATE, ["images", "lock", name, "--state", state, "--lock", lock]);
    }
    writeFileSync(config, JSON.stringify({ images: { lockFolder } }));
  }, BUILD_MS);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const start = () =>
    startCasemate({
      ...{ state, keepState: true, args: ["--config", config] },
      env: { CASEMATE_IMAGES_BUILD: "true" },
    });
  const left = () => [
    ...findProcesses("mmdebstrap", state),
    ...readdirSync(join(state, "images")).filter((name) => name.startsWith(".work")),
  ];

  test(
    "keep nothing waiting, say how far they are, end with the installation, and are made by the next start",
    async () => {
      {
        await using casemate = await start();
        await expect
          .poll(casemate.output, { timeout: BUILD_MS })
          .toMatch(/image containers \[3\/7\] root of/);
        const reply = await fetch(`${casemate.url}/readyz`);
        expect(reply.status).toBe(200);
        await casemate.end("SIGTERM");
        expect(casemate.output()).not.toMatch(/image .* was not built/);
      }
      await expect.poll(left, { timeout: BUILD_MS }).toEqual([]);
      {
        await using casemate = await start();
        await expect
          .poll(casemate.output, { timeout: BUILD_MS })
          .toMatch(/image openclaw (is|was not) built/);
        expect(casemate.output()).not.toMatch(/image .* was not built/);
        expect(casemate.output()).toMatch(/image containers is built/);
      }
      const [containers, base] = ["containers", "base"].map((name) => findImage(join(state, "images"), name));
      expect([containers?.metadata.name, base?.metadata.name]).toEqual(["containers", "base"]);
      // What each adds in size is what is sent to and kept on every host.
      expect(base!.metadata.files["root.img"].sizeBytes).toBeLessThan(64 * 2 ** 20);
      expect(containers!.metadata.files["root.img"].sizeBytes).toBeLessThan(192 * 2 ** 20);
      const { stdout } = await run(CASEMATE, ["images", "list", "--state", state]);
      expect(stdout.trim().split("\n")).toEqual([
        expect.stringMatching(/^\* base .* ok$/),
        expect.stringMatching(/^\* containers .* ok$/),
        expect.stringMatching(/^\* openclaw .* ok$/),
      ]);
    },
    2 * BUILD_MS,
  );

  describeWith([qemu], "started", () => {
    test(
      "the one for workloads comes up to its agent, with every module of its own loaded",
      async () => {
        const { folder: image, metadata } = findImage(join(state, "images"), "containers")!;
        const work = join(folder, "boot");
        mkdirSync(work);
        const machine = bootOnce({
          ...{ work, disk: join(image, "root.img"), commandLine: commandLine(metadata, "0".repeat(64)) },
          start: { kernel: join(image, "kernel"), initrd: join(image, "initrd") },
        });
        try {
          const guest = await machine.guest(BUILD_MS);
          expect(guest.welcome).toMatchObject({ claimed: false, agent: metadata.version });
          guest.close();
        } finally {
          await machine.stop();
        }
      },
      BUILD_MS,
    );
  });

  test(
    "are found again by the start after that, and no step is done twice",
    async () => {
      await using casemate = await start();
      // Both look-ups are over when the second one's process has come and gone.
      const looking = (name: string) => findProcesses("images", "build", name, state).length;
      await expect.poll(() => looking("base"), { timeout: BUILD_MS, interval: 5 }).toBeGreaterThan(0);
      await expect.poll(() => looking("base"), { timeout: BUILD_MS }).toBe(0);
      expect(casemate.output()).not.toMatch(/image (containers|base) /);
    },
    BUILD_MS,
  );
});
