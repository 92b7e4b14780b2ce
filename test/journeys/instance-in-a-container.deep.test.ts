// SPDX-License-Identifier: Apache-2.0
/**
 * A machine of one's own where there are no virtual machines: a container with users, network and limits of its own, on
 * `./casemate up`. Logged in to with the stranger's own `ssh`, found again by the next host process, and gone when it is deleted.
 */
import { execFile, execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { listPids, tryRead } from "#drivers/sandbox/process-table.ts";
import { systemContainers } from "#drivers/system-container/testing.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf } from "#testing/installation.ts";
import { findProcesses } from "#testing/process-status.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";
import { buildTestImage, IMAGE_MS, workloadImage } from "#testing/workload-image.ts";

const CASEMATE = new URL("../../casemate", import.meta.url).pathname;
const SLOW_MS = 600_000;

describeWith([root, workloadImage, systemContainers], "an instance in a container", () => {
  let folder: string;
  let casemate: RunningCasemate;
  let acme: Caller;
  const path = (name: string) => join(folder, name);
  const state = () => path("state");

  beforeAll(async () => {
    // Containers have users of their own, which pass through here.
    folder = mkdtempSync(join(tmpdir(), "casemate-container-"));
    chmodSync(folder, 0o755);
    const image = await buildTestImage("base");
    const images = join(state(), "images", "base");
    mkdirSync(images, { recursive: true });
    cpSync(image.folder, join(images, basename(image.folder)), { recursive: true });
    execFileSync("ln", ["-s", basename(image.folder), join(images, "current")]);
    const ssh = { addresses: "127.73.0.0/16", port: await freePort(), redirect: false };
    writeFileSync(
      path("config.json"),
      JSON.stringify({ host: { kept: { ssh, qemu: null, haltOnStop: false } } }),
    );
    casemate = await start();
    const words = ["tenants", "create", "acme", "--state", state(), "--json"];
    const made = await promisify(execFile)(CASEMATE, words);
    acme = callerOf(casemate.url, JSON.parse(made.stdout).api_key);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path("id_ed25519")]);
  }, IMAGE_MS);
  afterAll(async () => {
    await casemate?.[Symbol.asyncDispose]();
    if (folder === undefined) return;
    await promisify(execFile)(CASEMATE, ["uninstall", "--state", state(), "--yes"]).catch(() => {});
    rmSync(folder, { recursive: true, force: true });
  }, SLOW_MS);
  const start = () =>
    startCasemate({ state: state(), args: ["--config", path("config.json")], keepState: true });
  const create = async (agent: string) => {
    const ask = { public_key: readFileSync(path("id_ed25519.pub"), "utf8"), agent };
    let made = await acme("POST", "/v1/instances", ask);
    for (; made.status === 503; made = await acme("POST", "/v1/instances", ask)) await sleep(1_000);
    expect([made.status, made.body.error]).toEqual([202, undefined]);
    const ready = await acme("GET", `/v1/instances/${made.body.data.name}?wait=ready&timeout=300`);
    expect(ready.body.data).toMatchObject({ status: "ready", failure_message: null });
    return ready.body.data as {
      name: string;
      isolation: string;
      ssh: { address: string; port: number; known_hosts: string[] };
    };
  };
  const shell = async ({ ssh }: Awaited<ReturnType<typeof create>>, command: string) => {
    writeFileSync(path("known_hosts"), `${ssh.known_hosts.join("\n")}\n`);
    const words = ["-i", path("id_ed25519"), "-p", String(ssh.port), "-o", "BatchMode=yes"];
    const known = ["-o", `UserKnownHostsFile=${path("known_hosts")}`];
    const target = [`someone@${ssh.address}`, command];
    return (await promisify(execFile)("ssh", [...words, ...known, ...target], { timeout: SLOW_MS })).stdout;
  };
  /** Whatever this computer has of a machine but its notes. */
  const left = (machineId: string) => {
    const words = "nft list tables; ip netns list; cat /proc/self/mounts; losetup -a";
    const { stdout } = spawnSync("sh", ["-c", words], { encoding: "utf8" });
    return [
      ...stdout.split("\n").filter((line) => line.includes(machineId) || line.includes(folder)),
      ...globSync([`/sys/fs/cgroup/**/${machineId}`, join(state(), "vms/c/**", `${machineId}*`)]),
      ...listPids().filter((pid) => tryRead(`/proc/${pid}/environ`)?.includes(machineId)),
    ];
  };

  it(
    "is made, reached over SSH, found again after its host process was killed, and deleted",
    async () => {
      const instance = await create("none");
      expect(instance.isolation).toBe("container");
      const { body } = await acme("GET", `/v1/instances/${instance.name}/attestation`);
      expect(body.data).toMatchObject({ isolation: "container", hardware: false, verdicts: [] });
      expect(body.data.note).toMatch(/the host is trusted/);
      const looked = await shell(
        instance,
        "id -u; hostname; tr '\\0' ' ' < /proc/1/cmdline; cat /proc/self/uid_map",
      );
      expect(looked).toMatch(
        new RegExp(
          `^0\n${instance.name}\n/usr/sbin/casemate-agent container [0-9a-f]{64}\\s+0 +19[0-9]+ +65536\n`,
        ),
      );
      await shell(instance, "echo kept > /root/kept; (sleep 1000 >/dev/null 2>&1 </dev/null &)");

      const [host] = findProcesses("host/main.ts", state());
      process.kill(host!, "SIGKILL");
      await expect
        .poll(() => shell(instance, "cat /root/kept").catch(() => ""), { timeout: SLOW_MS })
        .toBe("kept\n");

      const [machineId] = globSync(join(state(), "vms/c/containers/mach_*")).map((each) => basename(each));
      // A name of a table, one of a namespace, a loop device, cgroups, a folder, notes and processes.
      expect(left(machineId!).length).toBeGreaterThan(7);
      expect((await acme("DELETE", `/v1/instances/${instance.name}`)).status).toBe(202);
      const gone = await acme("GET", `/v1/instances/${instance.name}?wait=terminated&timeout=60`);
      expect(gone.body.data).toMatchObject({ status: "terminated", terminated_reason: "deleted_via_api" });
      expect(left(machineId!)).toEqual([]);
    },
    SLOW_MS,
  );
});
