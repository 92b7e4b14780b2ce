// SPDX-License-Identifier: Apache-2.0
/** The agent as somebody has it who never saw this repository: packed, installed into an empty folder, run by npx. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { userNamespaces } from "../control/src/core/models/testing.ts";
import { settledFunction, upload } from "../control/src/surfaces/models/testing.ts";
import { detector } from "../models/testing.ts";
import { type Installation, startInstallation } from "../testing/installation.ts";
import { describeWith, type Requirement } from "../testing/requirements.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const npm: Requirement = {
  met: spawnSync("npm", ["--version"]).status === 0,
  reason: "needs npm",
};

describeWith([npm, userNamespaces], "the package of the edge agent", () => {
  let folder: string;
  let agent: ChildProcess | null;
  let env: Record<string, string | undefined>;
  let casemate: Installation;
  beforeAll(async () => {
    casemate = await startInstallation({ withHost: false });
  });
  afterAll(() => casemate[Symbol.asyncDispose]());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "casemate-package-"));
    agent = null;
    const path = `${join(ROOT, "node_modules/.bin")}${delimiter}${process.env.PATH}`;
    env = { ...process.env, PATH: path, npm_config_cache: join(folder, "cache"), npm_config_offline: "true" };
  });
  afterEach(async () => {
    if (agent !== null && agent.exitCode === null && agent.signalCode === null) {
      process.kill(-agent.pid!, "SIGKILL");
      await new Promise((end) => agent!.once("close", end));
    }
    rmSync(folder, { recursive: true, force: true });
  });
  const run = (words: string[], cwd: string) => {
    const { status, stdout, stderr } = spawnSync(words[0]!, words.slice(1), { cwd, env, encoding: "utf8" });
    expect([words[1], status, status === 0 ? "" : stderr]).toEqual([words[1], 0, ""]);
    return stdout.trim();
  };

  it("is packed, installed from that one file, and one command lets it in and runs what it is told", async () => {
    // A copy of what is packed: two tests must not build in the same folder.
    run(["node", join(ROOT, "scripts/build-edge.ts"), join(folder, "package")], ROOT);
    const [packed] = JSON.parse(
      run(
        ["npm", "pack", "--json", "--ignore-scripts", "--pack-destination", folder],
        join(folder, "package"),
      ),
    );
    const names = packed.files.map(({ path }: { path: string }) => path);
    expect(names).toEqual(
      expect.arrayContaining(["dist/edge/main.js", "dist/confine/alone.js", "LICENSE", "README.md"]),
    );
    expect(names.filter((name: string) => /\.ts$|test/.test(name))).toEqual([]);

    const app = join(folder, "app");
    mkdirSync(join(app, "node_modules"), { recursive: true });
    writeFileSync(join(app, "package.json"), '{"private":true}');
    // As if they had been installed before: no registry is asked.
    for (const name of ["onnxruntime-node", "sharp"])
      symlinkSync(join(ROOT, "node_modules", name), join(app, "node_modules", name));
    run(
      ["npm", "install", join(folder, packed.filename), "--no-audit", "--no-fund", "--ignore-scripts"],
      app,
    );
    expect(readdirSync(join(app, "node_modules", ".bin"))).toEqual(["casemate-edge"]);
    expect(run(["npx", "casemate-edge", "--help"], app)).toContain("--token");

    const acme = await casemate.tenant("acme");
    const model = (await upload(casemate.url, acme, detector(), { Name: "Things" })).UUID;
    expect((await settledFunction(acme, model)).Status).toBe("ok");
    const site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
    const token = (await acme("POST", "/dev/registration-tokens", { SystemId: site })).body.Token;
    mkdirSync(join(app, "frames"));
    await sharp({ create: { width: 100, height: 90, channels: 3, background: "#a03010" } })
      .png()
      .toFile(join(app, "frames", "one.png"));
    const words = [
      "casemate-edge",
      "--url",
      casemate.url,
      "--token",
      token,
      "--frames",
      "frames",
      "--fps",
      "20",
    ];
    agent = spawn("npx", words, { cwd: app, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    let [found, said] = ["", ""];
    agent.stdout!.setEncoding("utf8").on("data", (text: string) => (found += text));
    agent.stderr!.setEncoding("utf8").on("data", (text: string) => (said += text));
    const server = await vi.waitUntil(
      async () =>
        (await acme("GET", `/dev/system/${site}/servers`)).body.find(
          (one: { Status: string }) => one.Status === "online",
        ),
      { timeout: 90_000, interval: 200 },
    );
    const made = { Name: "Gate", Server: server.ID, Active: true };
    const device = (await acme("POST", "/dev/devices", made)).body.UUID;
    await vi.waitFor(
      async () =>
        expect((await acme("PUT", `/dev/device/${device}/pipelines`, [{ modelUUID: model }])).status).toBe(
          200,
        ),
      { timeout: 20_000, interval: 200 },
    );
    await vi.waitUntil(() => found.includes('"Class":"Green"'), { timeout: 90_000, interval: 100 });
    expect(said).not.toContain("with all that this user may");
  }, 240_000);
});
