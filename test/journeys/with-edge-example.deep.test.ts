// SPDX-License-Identifier: Apache-2.0
/** `up --with-edge`: the demo device as somebody sees it who pastes what is printed. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { userNamespaces } from "#control/src/core/models/testing.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";
import { agentOf, demoLines } from "./with-edge.ts";

describeWith([bubblewrap, userNamespaces], "a demo device beside everything else", () => {
  it("is looked at, does what the printed example says, and is started again when it dies", async () => {
    await using casemate = await startCasemate({ args: ["--with-edge"] });
    const lines = () => demoLines(casemate.state);
    await vi.waitUntil(() => lines().some(({ Found }) => Found[0]?.Detections.length === 3), {
      timeout: 90_000,
      interval: 200,
    });
    const script = printed(casemate);
    const { status, stdout, stderr } = spawnSync("sh", ["-e", "-c", script], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toContain('"Name":"Demo camera"');
    await vi.waitUntil(() => lines().at(-1)?.Found[0]?.Detections.length === 1, { timeout: 60_000 });
    expect(lines().at(-1)!.Found[0]!.Detections[0]!.Class).toBe("Green");

    const agent = agentOf(casemate.state)!;
    process.kill(agent, "SIGKILL");
    await vi.waitUntil(() => ![null, agent].includes(agentOf(casemate.state)), { timeout: 60_000 });
    const before = lines().length;
    await vi.waitUntil(() => lines().length > before + 2, { timeout: 60_000, interval: 200 });

    expect(existsSync(join(casemate.state, "edge", "registration.token"))).toBe(false);
    expect(statSync(join(casemate.state, "keys", "demo-client.json")).mode & 0o777).toBe(0o600);
    // Its own folder and the pictures, of all that lies here.
    const within = (path: string) =>
      existsSync(join(`/proc/${agentOf(casemate.state)}/root${casemate.state}`, path));
    if (process.getuid?.() === 0) {
      expect(statSync(join(casemate.state, "edge", "identity.json")).uid).toBe(63_015);
      expect(["edge/identity.json", "demo/pictures", "keys", "admin.key", "logs"].map(within)).toEqual([
        ...[true, true],
        ...[false, false, false],
      ]);
    }
    await casemate.end("SIGTERM");
    expect(agentOf(casemate.state)).toBeNull();
  }, 240_000);
});

/** The commands below the words about the camera. */
function printed(casemate: RunningCasemate): string {
  const [, block] = casemate.output().split("A demo camera is being looked at.");
  const example = block!
    .split("\n")
    .filter((line) => line.startsWith("  "))
    .join("\n");
  expect(readFileSync(join(casemate.state, "admin.key"), "utf8").trim()).toMatch(/^cm_admin_/);
  expect(example).not.toContain("cm_admin_");
  return example;
}
