// SPDX-License-Identifier: Apache-2.0
/** A host of its own, whose broker is not there: what it does without. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { lackingForBuild } from "#images/tools.ts";
import { newNkey } from "#link/nats/access.ts";
import { findProcesses } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { runHost } from "./run-host.ts";

const LIMIT_MS = 120_000;
const tools = { met: lackingForBuild(0) === null, reason: lackingForBuild(0) ?? "" };

describeWith([root, bubblewrap, tools], "a host by itself", () => {
  const folder = mkdtempSync(join(tmpdir(), "casemate-run-host-"));
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test(
    "tries to build the images of its machines once its signer has a key, and says why it cannot",
    async () => {
      const state = join(folder, "state");
      const [sources, configFile, seedFile] = ["sources.list", "config.json", "seed"].map((name) =>
        join(folder, name),
      ) as [string, string, string];
      writeFileSync(sources, "");
      writeFileSync(seedFile, newNkey().seed, { mode: 0o600 });
      const images = { build: true, sources };
      writeFileSync(configFile, JSON.stringify({ images, host: { kept: null } }));
      const nats = { servers: ["nats://127.0.0.1:1"], seedFile, credsFile: null, caFile: null, tls: "off" };
      const stop = new AbortController();
      const said: string[] = [];
      const running = runHost({
        ...{ state, nats, address: null, configFile, signal: stop.signal },
        say: (line) => said.push(line),
      });
      try {
        await expect
          .poll(() => said.filter((line) => line.startsWith("image")), { timeout: LIMIT_MS })
          .toEqual(
            expect.arrayContaining([
              expect.stringMatching(
                /^image containers was not built .* cannot be had from the package sources/,
              ),
              expect.stringMatching(/^image base was not built .* cannot be had from the package sources/),
            ]),
          );
      } finally {
        stop.abort();
        await running;
      }
      expect(findProcesses(state)).toEqual([]);
    },
    LIMIT_MS,
  );
});
