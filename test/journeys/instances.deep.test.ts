// SPDX-License-Identifier: Apache-2.0
/**
 * A machine of one's own on `./casemate up`: made over the API, ready when it has shown what it is, logged in to with the stranger's
 * own `ssh`, and gone when it is deleted. Where there is no KVM the processor is emulated and the TPM is a program.
 */
import { execFile, execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { firmware, qemu, swtpm, swtpmSetup } from "#drivers/qemu/testing.ts";
import { instanceExample } from "#embedded/welcome.ts";
import type { BuiltImage } from "#images/store.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf } from "#testing/installation.ts";
import { type ModelUpstream, startModelUpstream } from "#testing/model-upstream.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";
import { buildTestImage, IMAGE_MS, workloadImage } from "#testing/workload-image.ts";

const CASEMATE = new URL("../../casemate", import.meta.url).pathname;
const SLOW_MS = 600_000;

describeWith([root, workloadImage, qemu, swtpm, swtpmSetup, firmware], "an instance of up", () => {
  let folder: string;
  let image: BuiltImage;
  let casemate: RunningCasemate;
  let acme: Caller;
  let upstream: ModelUpstream;
  const path = (name: string) => join(folder, name);

  beforeAll(async () => {
    image = await buildTestImage("base");
    // Machines have uids of their own, which pass through here.
    folder = mkdtempSync(join(tmpdir(), "casemate-instance-"));
    chmodSync(folder, 0o755);
    const state = path("state");
    const images = join(state, "images/base");
    mkdirSync(images, { recursive: true });
    cpSync(image.folder, join(images, basename(image.folder)), { recursive: true });
    execFileSync("ln", ["-s", basename(image.folder), join(images, "current")]);
    const ssh = { addresses: "127.72.0.0/16", port: await freePort(), redirect: false };
    const kept = { ssh, qemu: { isolations: ["vm-vtpm"], accelerator: null } };
    upstream = await startModelUpstream();
    upstream.manner = { open: true };
    const prices = { inputMicrosPerMillion: 1_000_000, outputMicrosPerMillion: 1_000_000 };
    const { baseUrl } = upstream;
    const inference = {
      upstreams: [{ name: "own", baseUrl, keyFile: null, models: [{ id: "small", ...prices }] }],
      allowNetworks: ["127.0.0.0/8"],
    };
    const control = { instances: { inferenceModel: "small", inference } };
    writeFileSync(path("config.json"), JSON.stringify({ control, host: { kept } }));
    casemate = await startCasemate({ state, args: ["--config", path("config.json")], keepState: true });
    const made = await promisify(execFile)(CASEMATE, [
      "tenants",
      "create",
      "acme",
      "--state",
      state,
      "--json",
    ]);
    acme = callerOf(casemate.url, JSON.parse(made.stdout).api_key);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path("id_ed25519")]);
  }, IMAGE_MS);
  afterAll(async () => {
    await casemate?.[Symbol.asyncDispose]();
    await upstream?.[Symbol.asyncDispose]();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }, SLOW_MS);

  it(
    "is made, reached over SSH by the key that it made inside, keeps what was written through stops, and is deleted",
    async () => {
      const ask = { public_key: readFileSync(path("id_ed25519.pub"), "utf8"), agent: "none" };
      // A computer that has just been started is still finding out what it has for virtual machines.
      let made = await acme("POST", "/v1/instances", ask);
      for (; made.status === 503; made = await acme("POST", "/v1/instances", ask)) await sleep(1_000);
      expect([made.status, made.body.error]).toEqual([202, undefined]);
      const { name, hostname } = made.body.data;
      const ready = await acme("GET", `/v1/instances/${name}?wait=ready&timeout=300`);
      expect(ready.body.data).toMatchObject({ status: "ready", isolation: "vm-vtpm", failure_message: null });
      const { address, port, known_hosts } = ready.body.data.ssh;
      writeFileSync(path("known_hosts"), `${known_hosts.join("\n")}\n`);
      const options = [
        "-i",
        path("id_ed25519"),
        "-p",
        String(port),
        "-o",
        `UserKnownHostsFile=${path("known_hosts")}`,
      ];
      const ssh = (command: string, user = "azureuser") =>
        execFileSync("ssh", [...options, "-o", "BatchMode=yes", `${user}@${address}`, command], {
          encoding: "utf8",
          timeout: SLOW_MS,
        });
      expect(ssh("id -u", "whoever.it-is")).toBe("0\n");
      expect(ssh("hostname; uname -s; tr ' ' '\\n' < /proc/cmdline | grep -c launch")).toBe(
        `${name}\nLinux\n1\n`,
      );
      expect(hostname).toBe(`${name}.acme.casemate.internal`);

      // A program inside asks a model, through the host's door, by what it finds in the machine.
      const asking = [
        `. /run/casemate/inference.env; place=\${OPENAI_BASE_URL#http://}; at=\${place%%/*}`,
        `body='{"messages":[{"role":"user","content":"hello"}]}'`,
        `exec 3<>"/dev/tcp/\${at%:*}/\${at#*:}"`,
        `printf 'POST /%s/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' "\${place#*/}" "$at" "$OPENAI_API_KEY" \${#body} "$body" >&3`,
        "cat <&3; stat -c %a:%u /run/casemate/inference.env",
      ].join("\n");
      // Not waited for in the manner of the others: the model's server is in this process.
      const command = `bash -euc '${asking.replaceAll("'", `'\\''`)}'`;
      const target = ["-o", "BatchMode=yes", `azureuser@${address}`, command];
      const { stdout: said } = await promisify(execFile)("ssh", [...options, ...target], {
        timeout: SLOW_MS,
      });
      expect(said).toMatch(/^HTTP\/1.1 200 /);
      expect(said).toContain("Hello, wörld 🌍!");
      expect(said.trimEnd()).toMatch(/600:0$/);
      expect(upstream.asked.at(-1)!.body.model).toBe("small");
      const { usage } = (await acme("GET", `/v1/instances/${name}/usage`)).body.data;
      expect(usage).toMatchObject({ inference_input_tokens: 11, inference_output_tokens: 4 });
      expect(usage.instance_hours_used).toBeGreaterThan(0);

      // What was written is there again, under the key that the machine was known by; what lies in memory is not.
      ssh(
        "echo here > /root/kept; mkdir -p /etc/mine && echo too > /etc/mine/kept; echo var > /var/kept; echo x > /tmp/gone; echo /nowhere.so > /etc/ld.so.preload; sync",
      );
      expect(ssh("findmnt -no FSTYPE / 2>/dev/null || stat -f -c %T /").trim()).toMatch(/overlay/);
      // A root that everybody may write to lets nobody in any more, until its next start.
      ssh("chmod 777 /");
      const wished = async (verb: string, until: string) => {
        expect((await acme("POST", `/v1/instances/${name}/${verb}`)).status).toBe(202);
        const { data } = (await acme("GET", `/v1/instances/${name}?wait=${until}&timeout=300`)).body;
        expect(data).toMatchObject({ status: "ready", power: until, failure_message: null });
        return data;
      };
      expect((await wished("stop", "stopped")).ssh).toBeNull();
      const again = await wished("start", "running");
      expect(again.ssh).toEqual(ready.body.data.ssh);
      expect(
        ssh("cat /root/kept /etc/mine/kept /var/kept; [ -e /tmp/gone ] || echo gone; rm /etc/ld.so.preload"),
      ).toBe("here\ntoo\nvar\ngone\n");

      // Another key, while it runs.
      const other = path("other_ed25519");
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", other]);
      const replaced = await acme("PUT", `/v1/instances/${name}/public_key`, {
        public_key: readFileSync(`${other}.pub`, "utf8"),
      });
      expect([replaced.status, replaced.body.data.ssh]).toEqual([202, null]);
      const record = async () => (await acme("GET", `/v1/instances/${name}`)).body.data;
      await expect
        .poll(async () => (await record()).public_key_applied, { timeout: 120_000, interval: 500 })
        .toBe(true);
      expect((await record()).ssh).toEqual(ready.body.data.ssh);
      expect(() => ssh("true")).toThrow(/Permission denied|Command failed/);
      cpSync(other, path("id_ed25519"));
      rmSync(path("id_ed25519.pub"));
      cpSync(`${other}.pub`, path("id_ed25519.pub"));
      expect(ssh("cat /root/kept")).toBe("here\n");

      // Powered off from inside, it stands until somebody starts it.
      expect(() => ssh("poweroff; sleep 60")).toThrow();
      const stands = await acme("GET", `/v1/instances/${name}?wait=stopped&timeout=120`);
      expect(stands.body.data).toMatchObject({ status: "ready", power: "stopped" });

      expect((await acme("DELETE", `/v1/instances/${name}`)).status).toBe(202);
      const gone = await acme("GET", `/v1/instances/${name}?wait=terminated&timeout=60`);
      expect(gone.body.data).toMatchObject({ status: "terminated", terminated_reason: "deleted_via_api" });
      expect(() => ssh("true")).toThrow();
    },
    SLOW_MS,
  );

  it("does what up printed as an example", () => {
    writeFileSync(path("casemate"), `#!/bin/sh\nexec ${CASEMATE} "$@"\n`);
    chmodSync(path("casemate"), 0o755);
    execFileSync("ln", ["-s", "state", path(".casemate")]);
    const lines = instanceExample(casemate.url);
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    for (const line of instanceExample("http://127.0.0.1:8787")) expect(readme).toContain(`${line}\n`);
    for (const line of lines) expect(casemate.output()).toContain(line);
    const said = execFileSync("sh", ["-euc", lines.join("\n")], {
      ...{ cwd: folder, encoding: "utf8" as const, timeout: SLOW_MS },
    });
    expect(said).toMatch(/"status":"ready"/);
    expect(said).toMatch(/^Linux [a-z0-9]{8} /m);
    expect(said).toMatch(/"status":"terminat(ing|ed)"/);
  }, 600_000);
});
