// SPDX-License-Identifier: Apache-2.0
/**
 * A compose file in a virtual machine of `./casemate up`, judged by a stranger with the image, the compose file and nothing else; and
 * a host that starts something else. QEMU is started through a script that does what such a host would: everything above it is
 * as it is shipped. Where there is no KVM the processor is emulated and the TPM is a program: `hardware` is false throughout.
 */
import { execFile, execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type FakeRegistry, fakeRegistry } from "#drivers/docker/fake-registry.ts";
import { firmware, qemu, swtpm, swtpmSetup } from "#drivers/qemu/testing.ts";
import { newLeafKey, openAuthority } from "#host/ingress/authority.ts";
import type { BuiltImage } from "#images/store.ts";
import { type Caller, callerOf } from "#testing/installation.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";
import { buildWorkloadImage, IMAGE_MS, workloadImage } from "#testing/workload-image.ts";

const CASEMATE = new URL("../../casemate", import.meta.url).pathname;
const SLOW_MS = 600_000;
const PASSWORD = `pw-${randomBytes(8).toString("hex")}`;
const SECRET = `s3cret-${randomBytes(8).toString("hex")}`;

describeWith(
  [root, workloadImage, qemu, swtpm, swtpmSetup, firmware],
  "a compose file in a measured machine",
  () => {
    let folder: string;
    let image: BuiltImage;
    let registry: FakeRegistry;
    let casemate: RunningCasemate;
    let admin: Caller;
    let me: Caller;
    let compose: string;
    let id: string;
    let url: URL;
    const path = (name: string) => join(folder, name);
    const servers: Server[] = [];

    beforeAll(async () => {
      image = await buildWorkloadImage();
      // Machines have uids of their own, which pass through here.
      folder = mkdtempSync(join(tmpdir(), "casemate-measured-"));
      chmodSync(folder, 0o755);
      registry = await fakeRegistry("user", PASSWORD);
      const state = path("state");
      const images = join(state, "images/containers");
      mkdirSync(images, { recursive: true });
      cpSync(image.folder, join(images, basename(image.folder)), { recursive: true });
      execFileSync("ln", ["-s", basename(image.folder), join(images, "current")]);
      writeFileSync(path("qemu"), hostOf(folder));
      chmodSync(path("qemu"), 0o755);
      writeFileSync(path("attack"), "none");
      const root = readFileSync(join(image.folder, "root.img"));
      // Of the file system's own head: there is no start without it.
      root[1024 + 100]! ^= 1;
      writeFileSync(path("altered.img"), root);
      const programs = { qemu: path("qemu"), swtpm: "/usr/bin/swtpm", swtpmSetup: "/usr/bin/swtpm_setup" };
      const kept = {
        docker: { registriesInside: [registry.server] },
        qemu: { isolations: ["vm-vtpm"], programs, accelerator: null },
      };
      writeFileSync(path("config.json"), JSON.stringify({ host: { kept } }));
      casemate = await startCasemate({ state, args: ["--config", path("config.json")], keepState: true });
      admin = callerOf(casemate.url, readFileSync(join(state, "admin.key"), "utf8").trim());
      const account = await admin("POST", "/api/v1/accounts/create", { name: "measured", credits: 1000 });
      me = callerOf(casemate.url, account.body.apiToken);
      const tier = { name: "small", cpus: 1, gpus: 0, memoryMb: 1024, diskGb: 1, cost: 0.001 };
      expect((await admin("POST", "/api/v1/workload-tiers/create", tier)).status).toBe(201);
      const shell = (text: string) => JSON.stringify(["/busybox", "sh", "-c", text]);
      const serve = `/busybox mkdir -p /www; echo start >> /data/kept; (echo "$$WHO"; /busybox cat /data/kept) > /www/index.html; trap "echo ended in order >> /data/kept; exit 0" TERM; /busybox httpd -f -p 8080 -h /www & wait`;
      compose = `services:\n  api:\n    image: ${registry.image}\n    command: ${shell(serve)}\n    environment: [WHO]\n    volumes: ["data:/data"]\nvolumes: {data: {}}\n`;
      writeFileSync(path("docker-compose.yaml"), compose);
      writeFileSync(path("other.yaml"), `${compose}# other\n`);
    }, IMAGE_MS);
    afterAll(async () => {
      for (const server of servers) server.close();
      await casemate?.[Symbol.asyncDispose]();
      await registry?.close();
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    }, SLOW_MS);

    const post = (what: string, body: object) => me("POST", `/api/v1/${what}`, body);
    const ask = () => ({
      ...{
        name: "measured",
        artifactsVersion: image.metadata.version,
        dockerCompose: compose,
        isolation: "vm-vtpm",
      },
      ...{ publicContainerName: "api", publicContainerPort: 8080, memory: 1024, cpus: 1, disk: 1, gpus: 0 },
      envVars: { WHO: SECRET },
      dockerCredentials: [{ server: registry.server, username: "user", password: PASSWORD }],
    });
    const eventsOf = async (workloadId: string) =>
      (await post("workload-events/list", { workloadId })).body.events;
    const told = async (workloadId: string): Promise<string> => {
      const { lines } = (await post("workloads/logs", { workloadId })).body;
      return `${JSON.stringify(await eventsOf(workloadId))} ${JSON.stringify(lines)}`;
    };
    const becomes = async (workloadId: string, status: "running" | "error") => {
      for (const end = Date.now() + SLOW_MS; Date.now() < end; await sleep(200)) {
        const { body } = await me("GET", `/api/v1/workloads/${workloadId}`);
        if (body.status === status) return;
        if (body.status === "error" || body.status === "stopped") break;
      }
      throw new Error(`not ${status}: ${await told(workloadId)}`);
    };
    const create = async (): Promise<string> => {
      const made = await post("workloads/create", ask());
      expect([made.status, made.body]).toMatchObject([201, { isolation: "vm-vtpm" }]);
      return made.body.workloadId;
    };
    /** Never while this process waits: the registry that the machine pulls from is in it. */
    const page = async () => {
      const words = ["-sf", "--max-time", "60", "--cacert", path("ca.pem"), url.href];
      return (await promisify(execFile)("curl", words)).stdout;
    };
    const verify = async (...more: string[]): Promise<{ code: number; failed: string[]; out: string }> => {
      const own = ["--image", join(image.folder, "image.json"), "--roots", path("roots.pem"), "--json"];
      const { code, out } = await promisify(execFile)(
        CASEMATE,
        ["attest", "verify", url.origin, ...own, ...more],
        {
          timeout: SLOW_MS,
        },
      ).then(
        ({ stdout }) => ({ code: 0, out: stdout }),
        (error: { code: number; stdout: string; stderr: string }) => ({
          code: error.code,
          out: error.stdout + error.stderr,
        }),
      );
      const steps = code <= 1 ? (JSON.parse(out).steps as { name: string; ok: boolean }[]) : [];
      return { code, failed: steps.filter(({ ok }) => !ok).map(({ name }) => name), out };
    };

    it(
      "runs, answers through its own TLS, and a stranger accepts it by the image and the compose file",
      async () => {
        await expect
          .poll(async () => (await admin("GET", "/health")).body.isolations, {
            timeout: SLOW_MS,
            interval: 500,
          })
          .toContain("vm-vtpm");
        id = await create();
        await becomes(id, "running");
        url = new URL((await me("GET", `/api/v1/workloads/${id}`)).body.url);
        for (const [name, from] of [
          ["ca.pem", "ca.pem"],
          ["roots.pem", "tpm-roots.pem"],
        ] as const)
          writeFileSync(path(name), await (await fetch(`${casemate.url}/${from}`)).text());
        expect(await page()).toBe(`${SECRET}\nstart\n`);
        const judged = await verify("--compose", path("docker-compose.yaml"));
        expect([judged.code, judged.failed]).toEqual([0, []]);
        expect(JSON.parse(judged.out)).toMatchObject({ platform: "tpm", accepted: true, hardware: false });
      },
      SLOW_MS,
    );

    it(
      "another compose file, another image, other roots and an old nonce are refused at their own steps",
      async () => {
        expect(await verify("--compose", path("other.yaml"))).toMatchObject({ code: 1, failed: ["compose"] });
        const other = JSON.parse(readFileSync(join(image.folder, "image.json"), "utf8"));
        other.boot.uki.sections[0].sha256 = "0".repeat(64);
        writeFileSync(path("other.json"), JSON.stringify(other));
        expect(await verify("--image", path("other.json"))).toMatchObject({ code: 1, failed: ["pcr11"] });
        const { authority } = await openAuthority(path("authority"), new Date());
        writeFileSync(path("strangers.pem"), authority.caPem);
        expect(await verify("--roots", path("strangers.pem"))).toMatchObject({
          code: 1,
          failed: ["endorsement"],
        });
        // What was said for one nonce, shown for another: of the bytes, with the bound value of another moment.
        const made = await me("POST", "/platform/v1/attestations", {
          workload_id: id,
          nonce: "11".repeat(32),
        });
        expect(made.body).toMatchObject({ accepted: true, hardware: false });
        const { evidence, beside, policy, key_name } = made.body;
        const replayed = { evidence, beside, policy, key_name, bound: "22".repeat(32) };
        const { steps } = (await me("POST", "/platform/v1/attestations", replayed)).body;
        expect(steps.filter(({ ok }: { ok: boolean }) => !ok)).toMatchObject([{ name: "nonce" }]);
      },
      SLOW_MS,
    );

    it(
      "a host that ends TLS itself is refused at the key, with a certificate that browsers would take",
      async () => {
        const { authority } = await openAuthority(path("authority"), new Date());
        const key = await newLeafKey();
        const { certificatePem } = await authority.sign(url.hostname, key, new Date());
        const server = createTlsServer({ cert: certificatePem, key: key.keyPem }, (client) => {
          const inner = connectTls({
            host: "127.0.0.1",
            port: Number(url.port || 443),
            servername: url.hostname,
            rejectUnauthorized: false,
          });
          client.pipe(inner).pipe(client);
          for (const one of [client, inner]) one.on("error", () => {});
        });
        servers.push(server);
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const between = `127.0.0.1:${(server.address() as AddressInfo).port}`;
        expect(await verify("--connect", between)).toMatchObject({ code: 1, failed: ["tls-key"] });
      },
      SLOW_MS,
    );

    it(
      "what it writes until the last moment outlives a restart with other variables, in a new machine with new keys",
      async () => {
        const restarted = await post("workloads/restart", {
          workloadId: id,
          envVars: { WHO: "somebody else", NEW: "name" },
        });
        expect([restarted.status, restarted.body]).toMatchObject([200, {}]);
        const shown = () => page().catch(String);
        let last = await shown();
        for (const end = Date.now() + SLOW_MS - 60_000; Date.now() < end; last = await shown()) {
          if (last.startsWith("somebody")) break;
          await sleep(1_000);
        }
        expect(last, last.startsWith("somebody") ? "" : await told(id)).toBe(
          "somebody else\nstart\nended in order\nstart\n",
        );
        await becomes(id, "running");
        expect(await verify("--compose", path("docker-compose.yaml"))).toMatchObject({ code: 0 });
        expect((await post("workload-containers/list", { workloadId: id })).body).toMatchObject([
          { state: "running" },
        ]);
        expect((await post("workloads/stats", { workloadId: id })).body.memory.total).toBeGreaterThan(
          2 ** 29,
        );
        const disk = execFileSync("find", [join(casemate.state, "vms"), "-name", "state.img"], {
          encoding: "utf8",
        }).trim();
        for (const text of ["services:", SECRET, "somebody else"])
          expect(readFileSync(disk).includes(text), text).toBe(false);
        await post("workloads/delete", { workloadId: id });
      },
      SLOW_MS,
    );

    it.each([
      ["words after the command line", "words", /refused at pcr9/],
      ["a second root hash", "second-root", /ended|guest/],
      ["a changed block of the root", "block", /ended|guest/],
    ])(
      "a host that starts it with %s gives it nothing",
      async (_, attack, why) => {
        writeFileSync(path("attack"), attack);
        const workloadId = await create();
        await becomes(workloadId, "error");
        const events = await eventsOf(workloadId);
        const failed = events.findLast(
          ({ details }: { details: { kind: string } }) => details.kind === "failedToStart",
        );
        expect(failed.details.error).toMatch(why);
        await post("workloads/delete", { workloadId });
        writeFileSync(path("attack"), "none");
      },
      SLOW_MS,
    );

    it(
      "leaves nothing when it goes",
      async () => {
        const left = () =>
          execFileSync(
            "sh",
            [
              "-c",
              'pgrep -fc "[q]emu-system.*$1" || true; pgrep -fc "[s]wtpm.*$1" || true',
              "sh",
              casemate.state,
            ],
            { encoding: "utf8" },
          ).trim();
        await expect.poll(left, { timeout: SLOW_MS, interval: 500 }).toBe("0\n0");
        await casemate.end("SIGTERM");
        const namespaces = execFileSync("ip", ["netns", "list"], { encoding: "utf8" });
        expect(
          namespaces
            .split("\n")
            .filter((line) => line.includes("casemate") && line.includes(basename(folder))),
        ).toEqual([]);
      },
      SLOW_MS,
    );
  },
);

/** QEMU as this host starts it: the words of the driver, but for what the file `attack` says. */
function hostOf(folder: string): string {
  return `#!/bin/bash
words=("$@")
case "$(cat ${folder}/attack)" in
  words) for at in "\${!words[@]}"; do [ "\${words[at]}" = -append ] && words[at+1]="\${words[at+1]} init=/bin/sh"; done ;;
  second-root) for at in "\${!words[@]}"; do [ "\${words[at]}" = -append ] && words[at+1]="\${words[at+1]} casemate.root=${"0".repeat(64)}"; done ;;
  block) for at in "\${!words[@]}"; do words[at]=$(printf %s "\${words[at]}" | sed 's#"filename":"[^"]*/root.img"#"filename":"${folder}/altered.img"#'); done ;;
esac
exec /usr/bin/qemu-system-x86_64 "\${words[@]}"
`;
}
