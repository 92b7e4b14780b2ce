// SPDX-License-Identifier: Apache-2.0
/** Docker's own client and engine against the registry, as people use it. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type DockerSubject, dockerSubject } from "#drivers/docker/testing.ts";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import { dockerd, type TestDocker } from "#testing/docker.ts";
import { freePort } from "#testing/free-port.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { registryCaller } from "./testing.ts";

const client = spawnSync("docker", ["--version"], { encoding: "utf8" });
const dockerClient = { met: client.status === 0, reason: "needs docker (apt-get install docker.io)" };

describeWith([dockerd, dockerClient], "Docker", () => {
  let docker: TestDocker;
  let subject: DockerSubject;
  let driver: KeptDriver;
  let casemate: Installation;
  let config: string;
  let server: string;
  let account: { accountId: string; apiToken: string };
  beforeAll(async () => {
    const port = await freePort();
    subject = await dockerSubject({ registriesInside: [`127.0.0.1:${port}`] });
    docker = subject.docker;
    driver = subject.open();
    casemate = await startInstallation({ kept: driver, config: { http: { port } } });
    config = mkdtempSync(join(tmpdir(), "casemate-docker-config-"));
    server = new URL(casemate.url).host;
    const admin = callerOf(casemate.url, casemate.adminKey);
    account = (await admin("POST", "/api/v1/accounts/create", { name: "me", credits: 1e6 })).body;
  }, 60_000);
  afterAll(async () => {
    await casemate?.[Symbol.asyncDispose]();
    await driver?.reap(new Set());
    await driver?.close();
    await subject?.close();
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

  it("a workload made from a pushed tag runs the image of that digest, pulled with a key that is over", async () => {
    const me = callerOf(casemate.url, account.apiToken);
    const image = `${server}/${account.accountId}/served:v1`;
    await run(["tag", `${server}/${account.accountId}/tools/busybox:v1`, image]);
    const pushed = await run(["push", image]);
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(pushed.out)![1]!;
    // Nothing of it is on the host, and the tag goes on to another image.
    const left = await run(["images", "--digests", "--format", "{{.Repository}}:{{.Tag}}"]);
    await run(["rmi", "-f", ...left.out.split("\n").filter((line) => line.startsWith(server))]);
    const { body, status } = await me("POST", "/api/v1/workloads/create", {
      ...{
        name: "w",
        artifactsVersion: "0.1.0",
        publicContainerName: "web",
        publicContainerPort: 80,
        gpus: 0,
      },
      ...{ memory: 512, cpus: 1, disk: 5 },
      dockerCompose: `services:\n  web:\n    image: ${image}\n    command: [httpd, -f, -p, "80", -h, /etc]`,
    });
    expect([status, body]).toEqual([201, expect.anything()]);
    const { workloadId } = body;
    await expect
      .poll(async () => (await me("GET", `/api/v1/workloads/${workloadId}`)).body.status, { timeout: 60_000 })
      .toBe("running");
    const containers = await me("POST", "/api/v1/workload-containers/list", { workloadId });
    expect(containers.body).toMatchObject([
      { image: `${server}/${account.accountId}/served@${digest}`, state: "running" },
    ]);
    const { events } = (await me("POST", "/api/v1/workload-events/list", { workloadId })).body;
    expect(events.map(({ details }: { details: object }) => details)).toContainEqual({
      ...{
        kind: "imageResolved",
        message: `${image} is ${digest}`,
        image,
        digest,
        by: expect.stringMatching(/^key_/),
      },
    });
    const { rows } = await sql`select id from api_keys where surface = 'registry'`.execute(
      casemate.control.db.run,
    );
    expect(rows).toEqual([]);
    await me("POST", "/api/v1/workloads/delete", { workloadId });
    await expect.poll(() => docker.engine.listContainers({ all: true }), { timeout: 30_000 }).toEqual([]);
  }, 120_000);
});
