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
import { type ModelUpstream, startModelUpstream } from "#testing/model-upstream.ts";
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
  let upstream: ModelUpstream;
  const path = (name: string) => join(folder, name);
  const state = () => path("state");

  beforeAll(async () => {
    // Containers have users of their own, which pass through here.
    folder = mkdtempSync(join(tmpdir(), "casemate-container-"));
    chmodSync(folder, 0o755);
    for (const name of ["base", "openclaw"]) {
      const image = await buildTestImage(name);
      const images = join(state(), "images", name);
      mkdirSync(images, { recursive: true });
      cpSync(image.folder, join(images, basename(image.folder)), { recursive: true });
      execFileSync("ln", ["-s", basename(image.folder), join(images, "current")]);
    }
    upstream = await startModelUpstream();
    upstream.manner = { open: true };
    const prices = { inputMicrosPerMillion: 1_000_000, outputMicrosPerMillion: 1_000_000 };
    const { baseUrl } = upstream;
    const inference = {
      upstreams: [{ name: "own", baseUrl, keyFile: null, models: [{ id: "small", ...prices }] }],
      allowNetworks: ["127.0.0.0/8"],
    };
    const control = { instances: { inferenceModel: "small", inference } };
    const ssh = { addresses: "127.73.0.0/16", port: await freePort(), redirect: false };
    writeFileSync(
      path("config.json"),
      JSON.stringify({ control, host: { kept: { ssh, qemu: null, haltOnStop: false } } }),
    );
    casemate = await start();
    const words = ["tenants", "create", "acme", "--state", state(), "--json"];
    const made = await promisify(execFile)(CASEMATE, words);
    acme = callerOf(casemate.url, JSON.parse(made.stdout).api_key);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path("id_ed25519")]);
  }, IMAGE_MS);
  afterAll(async () => {
    await casemate?.[Symbol.asyncDispose]();
    await upstream?.[Symbol.asyncDispose]();
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

  it(
    "with the agent openclaw is ready when that is well, which then asks models by the gateway",
    async () => {
      const instance = await create("openclaw");
      expect(instance.isolation).toBe("container");
      const [machineId] = globSync(join(state(), "vms/c/containers/mach_*")).map((each) => basename(each));
      expect(await shell(instance, "curl -s -m 20 127.0.0.1:18789/healthz")).toMatch(/"ok":true/);
      const looked = await shell(
        instance,
        "stat -c '%U %a' /var/lib/openclaw/.openclaw/openclaw.json; ps -o user= -C openclaw-gateway || ps aux | grep -c '^openclaw'",
      );
      expect(looked).toMatch(/^openclaw 600\n/);

      const body = JSON.stringify({ model: "openclaw", messages: [{ role: "user", content: "hello" }] });
      const config = "/var/lib/openclaw/.openclaw/openclaw.json";
      const asking = [
        `token=$(sed -n '/"auth"/,/}/s/.*"token": "\\([0-9a-f]*\\)".*/\\1/p' ${config})`,
        `curl -s -m 300 -H "Authorization: Bearer $token" -H 'content-type: application/json' -d '${body}' 127.0.0.1:18789/v1/chat/completions`,
      ].join("; ");
      expect(await shell(instance, asking)).toContain("wörld 🌍!");
      expect(upstream.asked.at(-1)!.body).toMatchObject({ model: "small", stream: true });
      const { usage } = (await acme("GET", `/v1/instances/${instance.name}/usage`)).body.data;
      expect(usage.inference_output_tokens).toBeGreaterThanOrEqual(4);
      // Its API is for those in the machine alone, and for none without the word.
      expect(
        await shell(
          instance,
          "curl -s -o /dev/null -w '%{http_code}' -d '{}' 127.0.0.1:18789/v1/chat/completions",
        ),
      ).toBe("401");

      expect((await acme("DELETE", `/v1/instances/${instance.name}`)).status).toBe(202);
      const gone = await acme("GET", `/v1/instances/${instance.name}?wait=terminated&timeout=60`);
      expect(gone.body.data).toMatchObject({ status: "terminated", terminated_reason: "deleted_via_api" });
      expect(left(machineId!)).toEqual([]);
    },
    SLOW_MS,
  );
});
