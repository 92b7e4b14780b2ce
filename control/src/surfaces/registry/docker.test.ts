// SPDX-License-Identifier: Apache-2.0
/** Docker's own client and engine against the registry, as people use it. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dockerd, startDocker, type TestDocker } from "#testing/docker.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { registryCaller } from "./testing.ts";

const client = spawnSync("docker", ["--version"], { encoding: "utf8" });
const dockerClient = { met: client.status === 0, reason: "needs docker (apt-get install docker.io)" };

describeWith([dockerd, dockerClient], "Docker", () => {
  let docker: TestDocker;
  let casemate: Installation;
  let config: string;
  let server: string;
  let account: { accountId: string; apiToken: string };
  beforeAll(async () => {
    docker = await startDocker();
    casemate = await startInstallation({ withHost: false });
    config = mkdtempSync(join(tmpdir(), "casemate-docker-config-"));
    server = new URL(casemate.url).host;
    const admin = callerOf(casemate.url, casemate.adminKey);
    account = (await admin("POST", "/api/v1/accounts/create", { name: "me" })).body;
  }, 60_000);
  afterAll(async () => {
    await docker?.stop();
    await casemate?.[Symbol.asyncDispose]();
    rmSync(config, { recursive: true, force: true });
  }, 60_000);

  const run = (args: string[], input = "") =>
    new Promise<{ status: number | null; out: string }>((resolve) => {
      // Not in step: the registry answers in this very process.
      const child = spawn("docker", ["--config", config, "-H", `unix://${docker.socketPath}`, ...args]);
      let out = "";
      const add = (chunk: Buffer) => {
        out += chunk;
      };
      child.stdout.on("data", add);
      child.stderr.on("data", add);
      child.once("close", (status) => resolve({ status, out }));
      child.stdin.end(input);
    });

  it("logs in with a key and not without, pushes, pulls what it pushed, and runs it", async () => {
    const login = (password: string) =>
      run(["login", server, "--username", "me", "--password-stdin"], password);
    expect((await login(`cm_wl_${"A".repeat(32)}`)).out).toMatch(/unauthorized/i);
    expect(await login(account.apiToken)).toMatchObject({ status: 0 });
    const image = `${server}/${account.accountId}/tools/busybox:v1`;
    await run(["tag", "busybox:test", image]);
    const pushed = await run(["push", image]);
    expect(pushed).toMatchObject({ status: 0 });
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(pushed.out)![1]!;
    const call = registryCaller(casemate.url, account.apiToken);
    const head = await call("HEAD", `/v2/${account.accountId}/tools/busybox/manifests/v1`);
    expect(head.headers.get("docker-content-digest")).toBe(digest);
    // Into a second repository, where the layers are mounted and not sent again.
    const second = `${server}/${account.accountId}/other:v1`;
    await run(["tag", "busybox:test", second]);
    const mounted = await run(["push", second]);
    expect([mounted.status, mounted.out]).toEqual([0, expect.stringContaining("Mounted from")]);
    expect(await run(["rmi", "-f", image, second, "busybox:test"])).toMatchObject({ status: 0 });
    for (const name of [image, `${image.replace(/:v1$/, "")}@${digest}`])
      expect(await run(["pull", name])).toMatchObject({ status: 0 });
    const said = await run(["run", "--rm", "--network", "none", image, "sh", "-c", "echo from the registry"]);
    expect(said.out).toContain("from the registry");
  }, 120_000);

  it("is told plainly that a name is not its own", async () => {
    const image = `${server}/acct_${"0".repeat(32)}/x:v1`;
    await run(["tag", `${server}/${account.accountId}/tools/busybox:v1`, image]);
    const pushed = await run(["push", image]);
    expect([pushed.status === 0, pushed.out]).toEqual([
      false,
      expect.stringMatching(/begins with the id of its account|name unknown/),
    ]);
    expect((await run(["pull", `${server}/acct_${"0".repeat(32)}/y:v1`])).out).toMatch(
      /no such repository|not found|unknown/i,
    );
  }, 60_000);
});
