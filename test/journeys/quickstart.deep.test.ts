// SPDX-License-Identifier: Apache-2.0
/**
 * The seed's own quickstart, command by command, against `./casemate up`: with three values exported, curl, jq and ssh, and with the line that
 * `up` prints in resolv.conf. Nothing in it is told anything of us. Another SSH server holds port 22 of every address meanwhile.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { firmware, qemu, swtpm, swtpmSetup } from "#drivers/qemu/testing.ts";
import { networkNamespaces } from "#testing/network-namespaces.ts";
import { inNetworkOf, OWN_NETWORK, runAs, type Visitor } from "#testing/own-network.ts";
import { describeWith, programs, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";
import { readQuickstart, seeds } from "#testing/seed.ts";
import { buildTestImage, IMAGE_MS, workloadImage } from "#testing/workload-image.ts";

const CASEMATE = new URL("../../casemate", import.meta.url).pathname;
const SLOW_MS = 900_000;
const OTHER_SERVER = `require("node:net").createServer((s) => s.end("SSH-2.0-another\\r\\n")).listen(22, "0.0.0.0", () => console.log("on"))`;
const needed = programs(
  ["curl", "jq", "ssh", "nft", "unshare"],
  "curl jq openssh-client nftables util-linux",
);

describeWith(
  [root, seeds, workloadImage, qemu, swtpm, swtpmSetup, firmware, networkNamespaces, needed],
  "the quickstart",
  () => {
    let folder: string;
    let casemate: RunningCasemate;
    let other: ChildProcess;
    let visitor: Visitor;
    let key: string;
    const path = (...names: string[]) => join(folder, ...names);
    const inside = async (words: string[]) => {
      const [command, ...args] = [...inNetworkOf(casemate.pid), ...words];
      return (await promisify(execFile)(command!, args, { timeout: SLOW_MS })).stdout;
    };

    beforeAll(async () => {
      const image = await buildTestImage("base");
      folder = mkdtempSync(join(tmpdir(), "casemate-quickstart-"));
      chmodSync(folder, 0o755);
      const images = path("state/images/base");
      mkdirSync(images, { recursive: true });
      cpSync(image.folder, join(images, basename(image.folder)), { recursive: true });
      execFileSync("ln", ["-s", basename(image.folder), join(images, "current")]);
      const kept = { qemu: { isolations: ["vm-vtpm"], accelerator: null } };
      writeFileSync(path("config.json"), JSON.stringify({ host: { kept } }));
      const state = path("state");
      const args = ["--config", path("config.json")];
      casemate = await startCasemate({ state, args, keepState: true, prefix: OWN_NETWORK });
      const [command, ...words] = [...inNetworkOf(casemate.pid), process.execPath, "-e", OTHER_SERVER];
      other = spawn(command!, words, { stdio: ["ignore", "pipe", "inherit"] });
      await new Promise((ready) => other.stdout!.once("data", ready));
      key = JSON.parse(
        await inside([CASEMATE, "tenants", "create", "acme", "--state", state, "--json"]),
      ).api_key;
      const [, line = "no line"] = /^ {2}nameserver (127\.53\.\d+\.\d+)$/m.exec(casemate.output()) ?? [];
      visitor = { folder: path("visitor"), nameServers: [line, "127.0.0.1"], trusts: "yes" };
      mkdirSync(path("visitor/home/.ssh"), { recursive: true, mode: 0o700 });
      execFileSync("ssh-keygen", [
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        path("visitor/home/.ssh/id_ed25519"),
      ]);
      const ready = async () => {
        const health = JSON.parse(await inside(["curl", "-s", `${casemate.url}/v1/health`]));
        return health.isolation.find((one: { class: string }) => one.class === "vm-vtpm")?.ready;
      };
      // A computer that has just been started is still finding out what it has for virtual machines.
      while ((await ready()) !== true) await sleep(1_000);
    }, IMAGE_MS);
    afterAll(async () => {
      await casemate?.[Symbol.asyncDispose]();
      other?.kill("SIGKILL");
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    }, SLOW_MS);

    const run = (agent: string) => {
      // Polled more often than every 15 seconds, and with an agent that this test has the image of; else its own text.
      const script = readQuickstart((text) =>
        text.replace('agent: "openclaw"', `agent: "${agent}"`).replace("sleep 15", "sleep 2"),
      );
      return runAs(casemate.pid, visitor, script, {
        stdin: "hostname; uname -s; id -u\n",
        env: { API_BASE: casemate.url, TENANT_SLUG: "acme", CA_API_KEY: key },
        timeoutMs: SLOW_MS,
      });
    };

    it.each(["none"])(
      "runs as it is written with the agent %s, and what it made is gone at its end",
      async (agent) => {
        const said = await run(agent);
        const [, hostname = ""] = /^Instance is ready: (.*)$/m.exec(said) ?? [];
        const [name = ""] = hostname.split(".");
        expect(hostname, said).toMatch(/^[a-z0-9]{8}\.acme\.casemate\.internal$/);
        expect(said).toContain(`"agent": "${agent}"`);
        expect(said).toContain("status=provisioning\n");
        // Of the shell that the quickstart's ssh opened, by the instance's name on port 22.
        expect(said).toContain(`${name}\nLinux\n0\n`);
        expect(said).toMatch(/"status": "terminat(ing|ed)"[^}]*"terminated_reason"/);
        const gone = `curl -s "$API_BASE/v1/instances/${name}?wait=terminated&timeout=60" -H "Authorization: Bearer $CA_API_KEY" | jq -r .data.status\ngetent hosts ${hostname} || echo no such name`;
        const env = { API_BASE: casemate.url, CA_API_KEY: key };
        // Answers are kept for a moment by the name server (records.ts, B).
        const after = () => runAs(casemate.pid, visitor, gone, { stdin: "", env, timeoutMs: SLOW_MS });
        await expect.poll(after, { timeout: 60_000, interval: 1_000 }).toBe("terminated\nno such name\n");
      },
      SLOW_MS,
    );
  },
);
