// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate uninstall` after the worst: everything killed in the middle of its work. What is left on the
 * computer is looked for here by other means than the command's own.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { dockerd, startDocker } from "#testing/docker.ts";
import { callerOf } from "#testing/installation.ts";
import { findProcesses } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("..", import.meta.url).pathname;
let folder: string;
let state: string;
const strangers: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-uninstall-"));
  state = join(folder, "state");
});
afterEach(() => {
  for (const child of strangers.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const uninstall = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(ROOT, "cli/main.ts"), "uninstall", "--state", state, ...args],
    { encoding: "utf8", timeout: 100_000, stdio: ["ignore", "pipe", "pipe"] },
  );
  return { status, text: stdout + stderr };
};

const hash = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 12);

/** Whatever bears the installation's marks, found by reading all of /proc, every mount and every cgroup. */
function traces(owner: string): string[] {
  const read = (path: string) => {
    try {
      return readFileSync(path, "latin1");
    } catch {
      return "";
    }
  };
  const tasks = readdirSync("/proc").filter(
    (pid) =>
      /^\d+$/.test(pid) &&
      Number(pid) !== process.pid &&
      !strangers.some((child) => child.pid === Number(pid)) &&
      ["cmdline", "environ", "cgroup"].some((file) => {
        const text = read(`/proc/${pid}/${file}`);
        return text.includes(owner) || text.includes(`${state}/`);
      }),
  );
  const mounts = read("/proc/self/mountinfo")
    .split("\n")
    .filter((line) => line.includes(`${state}/`) || line.includes(owner));
  return [
    ...tasks.map((pid) => `${pid} ${read(`/proc/${pid}/cmdline`).slice(0, 200)}`),
    ...mounts,
    ...globSync(`/sys/fs/cgroup/**/${owner}*`),
    ...[`/run/casemate-${hash(state)}`, state].filter((path) => existsSync(path)),
  ];
}

const ownerOf = () => `cm-${hash(realpathSync(join(state, "host")))}`;

function killEverything(casemate: RunningCasemate): void {
  for (let tries = 0; tries < 3; tries++)
    for (const pid of [casemate.pid, ...findProcesses(state)]) {
      if (strangers.some((child) => child.pid === pid)) continue;
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It died of another's death.
      }
    }
}

it("does nothing without a terminal and without --yes, and does not touch a folder that is not a state folder", () => {
  mkdirSync(state);
  writeFileSync(join(state, "version"), "not casemate's");
  expect(uninstall()).toMatchObject({ status: 2, text: expect.stringContaining("--yes") });
  expect(uninstall("--yes")).toMatchObject({
    status: 1,
    text: expect.stringContaining("is not a state folder"),
  });
  expect(readdirSync(state)).toEqual(["version"]);
  expect(uninstall("--yes", "--keep-data", "--drop-tables").status).toBe(2);
});

it("has nothing to do where nothing is", () => {
  expect(uninstall("--yes")).toMatchObject({
    status: 0,
    text: expect.stringContaining("nothing of casemate is left"),
  });
});

describeWith([root, bubblewrap], "uninstall", () => {
  it("leaves no process, mount, cgroup or folder of an installation that was killed at work", {
    timeout: 180_000,
  }, async () => {
    const casemate = await startCasemate({ state, keepState: true });
    const me = await casemate.signUp();
    const ids: string[] = [];
    for (let n = 0; n < 2; n++) ids.push((await me("POST", "/v1/sessions", {})).body.session_id);
    const under = me("POST", `/v1/sessions/${ids[0]}/exec`, { command: "sleep 300 & sleep 301" }).catch(
      () => null,
    );
    const owner = ownerOf();
    await expect.poll(() => globSync(`/sys/fs/cgroup/**/${owner}/mach_*`).length).toBeGreaterThan(0);
    await sleep(300);

    // While it runs nothing happens, whatever was said.
    const refused = uninstall("--yes");
    expect(refused).toMatchObject({
      status: 1,
      text: expect.stringMatching(/held by another casemate \(pid \d+\)/),
    });
    expect((await me("GET", `/v1/sessions/${ids[1]}`)).status).toBe(200);

    killEverything(casemate);
    await under;
    await casemate.end("SIGKILL");
    // As a daemon that a session left would be, if the kernel had missed it: only its mark says whose it is.
    const orphan = spawn("sleep", ["1003"], { env: { CASEMATE_MACHINE: `${owner}/mach_${"0".repeat(32)}` } });
    strangers.push(orphan);
    // And somebody who only reads a log stays alive.
    const reader = spawn("tail", ["-f", join(state, "logs/host.log")], { cwd: state, stdio: "ignore" });
    strangers.push(reader);

    const { status, text } = uninstall("--yes");
    expect([status, text]).toEqual([0, expect.stringContaining("nothing else of casemate is left")]);
    expect(text).toMatch(/will remove[\s\S]*cgroups[\s\S]*removed: .*cgroups/);
    await expect.poll(() => orphan.signalCode).toBe("SIGKILL");
    expect(reader.signalCode).toBeNull();
    expect(traces(owner)).toEqual([]);

    expect(uninstall("--yes")).toMatchObject({
      status: 0,
      text: expect.stringContaining("nothing of casemate is left"),
    });
  });

  it("keeps database and keys when asked, and removes nothing while somebody's disk is mounted inside", {
    timeout: 180_000,
  }, async () => {
    const first = await startCasemate({ state, keepState: true });
    const me = await first.signUp();
    const key = readFileSync(join(state, "admin.key"), "utf8");
    killEverything(first);
    await first.end("SIGKILL");
    writeFileSync(join(state, "notes of mine"), "keep");
    expect(uninstall("--yes", "--keep-data")).toMatchObject({
      status: 0,
      text: expect.stringContaining("left: database and keys"),
    });
    expect(existsSync(join(state, "logs"))).toBe(false);
    expect(readFileSync(join(state, "admin.key"), "utf8")).toBe(key);

    const second = await startCasemate({ state, keepState: true });
    expect((await callerOf(second.url, me.key)("GET", "/v1/customers/me")).status).toBe(200);
    await second.end("SIGTERM");

    const disk = join(state, "logs/disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "somebody", disk]);
    try {
      expect(uninstall("--yes")).toMatchObject({
        status: 1,
        text: expect.stringContaining(`unmount what is not casemate's first: ${disk}`),
      });
      expect(readFileSync(join(state, "admin.key"), "utf8")).toBe(key);
    } finally {
      execFileSync("umount", [disk]);
    }

    const owner = ownerOf();
    const last = uninstall("--yes");
    expect(last).toMatchObject({ status: 0, text: expect.stringContaining("not casemate's: notes of mine") });
    expect(readdirSync(state)).toEqual(["notes of mine"]);
    rmSync(state, { recursive: true });
    expect(traces(owner)).toEqual([]);
  });
});

describeWith([root, bubblewrap, dockerd], "uninstall with workloads", () => {
  it("removes containers, networks, volumes and rules of killed workloads, and says what it needs while the engine is away", {
    timeout: 300_000,
  }, async () => {
    const docker = await startDocker();
    try {
      const config = join(folder, "config.json");
      writeFileSync(
        config,
        JSON.stringify({ host: { kept: { docker: { socketPath: docker.socketPath } } } }),
      );
      const casemate = await startCasemate({ state, keepState: true, args: ["--config", config] });
      const admin = callerOf(casemate.url, readFileSync(join(state, "admin.key"), "utf8").trim());
      const account = await admin("POST", "/api/v1/accounts/create", { name: "leaver", credits: 1000 });
      const me = callerOf(casemate.url, account.body.apiToken);
      const made = await me("POST", "/api/v1/workloads/create", {
        ...{ name: "left", artifactsVersion: (await me("GET", "/api/v1/artifacts/list")).body[0].version },
        dockerCompose:
          "services:\n  api:\n    image: caddy:2\n    command: caddy respond --listen :80 --body hi\n    volumes: ['data:/data']\nvolumes:\n  data: {}",
        ...{ publicContainerName: "api", publicContainerPort: 80, memory: 512, cpus: 1, disk: 5, gpus: 0 },
      });
      expect(made.status).toBe(201);
      const status = async () => (await me("GET", `/api/v1/workloads/${made.body.workloadId}`)).body.status;
      await expect.poll(status, { timeout: 90_000, interval: 300 }).toBe("running");
      const owner = ownerOf();
      const rules = () => execFileSync("iptables-save", ["-t", "mangle"], { encoding: "utf8" });
      expect(rules()).toContain(`casemate:${owner}:`);
      killEverything(casemate);
      await casemate.end("SIGKILL");

      const silent = `${docker.socketPath}.away`;
      const hostConfig = join(state, "keys/host.json");
      const whole = readFileSync(hostConfig, "utf8");
      writeFileSync(hostConfig, whole.replaceAll(docker.socketPath, silent));
      expect(uninstall("--yes")).toMatchObject({
        status: 1,
        text: expect.stringContaining("no Docker engine answers"),
      });
      writeFileSync(hostConfig, whole);

      const { status: code, text } = uninstall("--yes");
      expect([code, text]).toEqual([0, expect.stringMatching(/left: images .*caddy:2/)]);
      const left = [
        ...(await docker.engine.listContainers({ all: true })),
        ...((await docker.engine.listVolumes()).Volumes ?? []),
        ...(await docker.engine.listNetworks()).filter(
          ({ Name }) => !["bridge", "host", "none"].includes(Name),
        ),
      ];
      expect(left).toEqual([]);
      expect(rules()).not.toContain(owner);
      expect(traces(owner)).toEqual([]);
    } finally {
      await docker.stop();
    }
  });
});
