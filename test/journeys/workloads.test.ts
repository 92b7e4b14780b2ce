// SPDX-License-Identifier: Apache-2.0
/**
 * The second story: `./casemate up` beside a real Docker engine, the seed's own create request (its
 * compose file indented again, its placeholders filled in, nothing else changed), and everything its
 * client would then do, to the end, of which nothing is left.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dockerd, startDocker, type TestDocker } from "#testing/docker.ts";
import { type Caller, callerOf, type Reply } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";
import { readCreateRequest, seeds } from "#testing/seed.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

describeWith([dockerd, seeds], "a workload in real containers", () => {
  let folder: string;
  let docker: TestDocker;
  let casemate: RunningCasemate;
  let me: Caller;
  let id: string;
  let url: string;

  beforeAll(async () => {
    // Not while tests are collected: a suite that is skipped has nobody to remove it.
    folder = mkdtempSync(join(tmpdir(), "casemate-workloads-"));
    docker = await startDocker();
    const config = join(folder, "config.json");
    const kept = { docker: { socketPath: docker.socketPath } };
    writeFileSync(config, JSON.stringify({ host: { kept } }));
    casemate = await startCasemate({ args: ["--config", config] });
  }, 120_000);
  afterAll(async () => {
    await casemate?.[Symbol.asyncDispose]();
    await docker?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const post = async (path: string, body: object) => me("POST", `/api/v1/${path}`, body);
  const becomes = async (status: string) => {
    for (let tries = 0; tries < 600; tries++) {
      const { body } = await me("GET", `/api/v1/workloads/${id}`);
      if (body.status === status) return;
      if (body.status === "error") break;
      await sleep(100);
    }
    const { body } = await post("workload-events/list", { workloadId: id });
    throw new Error(`not ${status}: ${JSON.stringify(body)}`);
  };
  /** curl as a client has it: the downloaded CA, the name as it stands. */
  const curl = (...args: string[]) =>
    execFileSync("curl", ["-s", "--max-time", "20", "--cacert", join(folder, "ca.pem"), ...args], {
      encoding: "utf8",
    });

  it("is created by the seed's own request, and answers it over HTTPS", async () => {
    const admin = callerOf(casemate.url, readFileSync(join(casemate.state, "admin.key"), "utf8").trim());
    const account = await admin("POST", "/api/v1/accounts/create", { name: "journey", credits: 1000 });
    me = callerOf(casemate.url, account.body.apiToken);
    const [tier] = (await me("GET", "/api/v1/workload-tiers/list")).body;
    const [artifact] = (await me("GET", "/api/v1/artifacts/list")).body;
    const ask = readCreateRequest({
      ARTIFACTS_VERSION: artifact.version,
      MEMORY_MB: tier.memoryMb,
      CPU_CORES: tier.cpus,
      DISK_GB: tier.diskGb,
      GPU_COUNT: tier.gpus,
    });
    const made = await post("workloads/create", ask);
    expect([made.status, made.body]).toMatchObject([
      201,
      { name: "my-favorite-workload", isolation: "container" },
    ]);
    ({ workloadId: id, url } = made.body);
    await becomes("running");
    writeFileSync(join(folder, "ca.pem"), await (await fetch(`${casemate.url}/ca.pem`)).text());
    expect(JSON.parse(curl(url))).toEqual({ hi: "foo" });
    const report = JSON.parse(curl(`${url}nilcc/api/v2/report`));
    expect(report).toMatchObject({ platform: "container", hardware: false, raw_report: null });
  });

  it("is made and reached by the lines of the README as they stand, which up prints too", async () => {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const block = /## A workload[\s\S]*?```sh\n([\s\S]*?)```/.exec(readme)?.[1];
    expect(block, "README has a block under its heading").toBeDefined();
    const script = block!
      .replaceAll("http://127.0.0.1:8787", casemate.url)
      .replaceAll(".casemate/admin.key", join(casemate.state, "admin.key"));
    await expect.poll(() => casemate.output().replaceAll(/^ {2}/gm, "")).toContain(script);
    const { status, stdout, stderr } = spawnSync("sh", ["-ec", `${script}\necho; echo "$KEY"`], {
      ...{ cwd: folder, encoding: "utf8", timeout: 90_000 },
    });
    expect([status, stderr]).toEqual([0, ""]);
    const [answer, key] = stdout.trim().split("\n");
    expect(answer).toBe("hello");
    const theirs = callerOf(casemate.url, key!);
    const [{ workloadId }] = (await theirs("GET", "/api/v1/workloads/list")).body;
    expect((await theirs("POST", "/api/v1/workloads/delete", { workloadId })).status).toBe(200);
  }, 120_000);

  it("shows its events in order, its containers, their logs, and figures", async () => {
    const { body } = await post("workload-events/list", { workloadId: id });
    expect(body.events.map(({ details }: { details: { kind: string } }) => details.kind)).toEqual([
      ...["created", "starting", "imageResolved", "running"],
    ]);
    const containers = (await post("workload-containers/list", { workloadId: id })).body;
    expect(containers).toMatchObject([{ image: "caddy:2", state: "running" }]);
    const [name] = containers[0].names;
    const logs = (await post("workload-containers/logs", { workloadId: id, container: name })).body.lines;
    expect(logs.join("\n")).toContain("Server address");
    expect((await post("workloads/logs", { workloadId: id })).body.lines.length).toBeGreaterThan(0);
    const stats = (await post("workloads/stats", { workloadId: id })).body;
    expect(stats.memory.used).toBeGreaterThan(0);
    expect(stats.memory.total).toBe(512 * 1024 * 1024);
  });

  it("has new variables after a restart, answers 503 while stopped, and starts again", async () => {
    const dockerCompose =
      'services:\n  api:\n    image: caddy:2\n    command: caddy respond --listen :80 --body "$' +
      '{FOO}"\n    volumes: ["data:/data"]\nvolumes:\n  data: {}';
    const ask = { name: "env", artifactsVersion: "0.1.0", dockerCompose, envVars: { FOO: "one" } };
    const size = {
      publicContainerName: "api",
      publicContainerPort: 80,
      memory: 512,
      cpus: 1,
      disk: 5,
      gpus: 0,
    };
    const first = id;
    let made!: Reply;
    const create = async () => {
      made = await post("workloads/create", { ...ask, ...size });
      return made.status;
    };
    // The room of the one that was deleted is free when its host has said that it is gone.
    await expect.poll(create, { interval: 200 }).toBe(201);
    id = made.body.workloadId;
    await becomes("running");
    expect(curl(made.body.url)).toBe("one");
    await post("workloads/restart", { workloadId: id, envVars: { FOO: "two" } });
    await expect.poll(() => curl(made.body.url), { timeout: 60_000, interval: 500 }).toBe("two");
    await becomes("running");
    await post("workloads/stop", { workloadId: id });
    await becomes("stopped");
    expect(curl("-o", "/dev/null", "-w", "%{http_code}", made.body.url)).toBe("503");
    await post("workloads/start", { workloadId: id });
    await becomes("running");
    expect(curl(made.body.url)).toBe("two");
    await post("workloads/delete", { workloadId: id });
    id = first;
  });

  it("is deleted with everything it had: containers, networks, volumes, its name", async () => {
    await post("workloads/delete", { workloadId: id });
    expect((await me("GET", `/api/v1/workloads/${id}`)).status).toBe(404);
    const left = async () => {
      const [containers, volumes, networks] = await Promise.all([
        docker.engine.listContainers({ all: true }),
        docker.engine.listVolumes(),
        docker.engine.listNetworks(),
      ]);
      const own = networks.filter(({ Name }) => !["bridge", "host", "none"].includes(Name));
      return [containers.length, volumes.Volumes?.length ?? 0, own.length];
    };
    await expect.poll(left, { timeout: 60_000, interval: 500 }).toEqual([0, 0, 0]);
    expect(() => curl(url)).toThrow();
  });
});
