// SPDX-License-Identifier: Apache-2.0
/**
 * ARCHITECTURE.md opens with one request told through the files that carry it. This test makes that
 * request and asks the JavaScript engine which files ran: a step that names a file the request does
 * not pass through, or a file that is gone, fails here.
 */
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { SandboxDriver } from "#drivers/sandbox/driver.ts";
import { type Installation, startInstallation } from "#testing/installation.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
/** These run in processes of their own, where this test's engine does not look. */
const ELSEWHERE =
  /^(host\/signer\/(main|session-keys|issuer)|drivers\/sandbox\/prober\/(main|read-back|scan|traces)|evidence\/proofs\/(build|claims))\.ts$|\.pl$/;
/** Tables of values: nothing of them is called, so the engine sees no function run. */
const DATA = /^(contract\/|drivers\/sandbox\/record\.ts$|control\/src\/surfaces\/sessions\/tiers\.ts$)/;

const opening = () => {
  const text = readFileSync(join(ROOT, "ARCHITECTURE.md"), "utf8");
  const start = text.indexOf("## One request, down and up");
  return text.slice(start, text.indexOf("\n## ", start + 5));
};
const named = () => [
  ...new Set([...opening().matchAll(/`([a-z][\w./-]*\.(?:ts|pl))`/g)].map((match) => match[1]!)),
];

describeWith([bubblewrap], "the trace that opens ARCHITECTURE.md", () => {
  let casemate: Installation;
  const engine = new Session();
  beforeAll(async () => {
    // Before the start: what is wired there is part of the way too.
    engine.connect();
    await engine.post("Profiler.enable");
    await engine.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
    casemate = await startInstallation({
      config: { transparency: { everyMs: 10 } } as never,
      driver: (folder) => {
        chmodSync(folder, 0o711);
        return new SandboxDriver({ folder: join(folder, "sandboxes"), owner: `cm-trace-${process.pid}` });
      },
    });
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  it("names only files that are there, and enough of them", () => {
    expect(named().length).toBeGreaterThan(40);
    expect(named().filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it("is the way that a create and a destroy take", async () => {
    const me = await casemate.account();
    const created = await me("POST", "/v1/sessions", {}, { "idempotency-key": "trace" });
    const path = `/v1/sessions/${created.body.session_id}`;
    await me("POST", `${path}/exec`, { command: "cat $INPUT_DATA", input_data: "x" });
    await me("PUT", `${path}/files/a`, Buffer.from("x"));
    const destroyed = await me("DELETE", `/v1/sessions/${created.body.session_id}`);
    const verdict = await me("POST", "/v1/verify", destroyed.text);
    // With pauses: a key has so many requests a minute.
    let shown = await me("GET", `/v1/proofs/${created.body.session_id}/transparency`);
    for (let times = 0; shown.status === 202 && times < 40; times++) {
      await setTimeout(500);
      shown = await me("GET", `/v1/proofs/${created.body.session_id}/transparency`);
    }
    expect(shown.status).toBe(200);
    const logged = { cdp: destroyed.body.cdp, transparency: shown.body };
    const found = await me("POST", "/v1/verify", JSON.stringify(logged));
    const { result } = await engine.post("Profiler.takePreciseCoverage");
    engine.disconnect();
    expect([created.status, destroyed.status, verdict.body.valid]).toEqual([201, 200, true]);
    expect([verdict.body.level, found.body.level]).toEqual([2, 3]);

    const ran = new Set(
      result
        .filter(({ functions }) =>
          functions.some(
            ({ functionName, ranges }) => functionName !== "" && ranges.some(({ count }) => count > 0),
          ),
        )
        .map(({ url }) =>
          url
            .replace(/^file:\/\//, "")
            .replace(/\?.*$/, "")
            .replace(ROOT, ""),
        ),
    );
    const expected = named().filter((path) => !ELSEWHERE.test(path) && !DATA.test(path));
    expect(expected.filter((path) => !ran.has(path))).toEqual([]);
    // What runs elsewhere cannot be seen to run; that the proof verifies shows that it did.
    expect(expected.length).toBeGreaterThan(30);
  });
});
