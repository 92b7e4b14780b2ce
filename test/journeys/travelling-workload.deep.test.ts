// SPDX-License-Identifier: Apache-2.0
/**
 * A workload in a measured machine that is changed, moved to another host and given another image, with real virtual machines: what its
 * visitors wrote is there each time, since its disk is opened by the workload's key wherever an approved launch shows its evidence, and
 * by nothing else. The second host is a process of its own beside `./casemate up`, with folders, uids, addresses and a TPM authority of its own.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { hash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type FakeRegistry, fakeRegistry } from "#drivers/docker/fake-registry.ts";
import { firmware, qemu, swtpm, swtpmSetup } from "#drivers/qemu/testing.ts";
import { bootFactsOf } from "#evidence/tpm/expected.ts";
import { metadataText } from "#images/metadata.ts";
import { type BuiltImage, folderOf, METADATA_FILE, makeCurrent, readImage } from "#images/store.ts";
import { type Caller, callerOf } from "#testing/installation.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";
import { buildWorkloadImage, IMAGE_MS, workloadImage } from "#testing/workload-image.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const SLOW_MS = 600_000;

describeWith(
  [root, workloadImage, qemu, swtpm, swtpmSetup, firmware],
  "a workload that goes to another host, and to another image",
  () => {
    let folder: string;
    let image: BuiltImage;
    let registry: FakeRegistry;
    let casemate: RunningCasemate;
    let second: ChildProcess | null = null;
    let admin: Caller;
    let me: Caller;
    let accountId: string;
    let id: string;
    const path = (name: string) => join(folder, name);
    const imagesFolder = () => join(casemate.state, "images");

    beforeAll(async () => {
      image = await buildWorkloadImage();
      // Machines have uids of their own, which pass through here.
      folder = mkdtempSync(join(tmpdir(), "casemate-trav-"));
      chmodSync(folder, 0o755);
      registry = await fakeRegistry("user", "of-the-registry-1");
      const state = path("state");
      mkdirSync(join(state, "images/containers"), { recursive: true });
      const mine = join(state, "images/containers", basename(image.folder));
      cpSync(image.folder, mine, { recursive: true });
      makeCurrent(mine);
      const kept = {
        docker: { registriesInside: [registry.server] },
        qemu: { isolations: ["vm-vtpm"], accelerator: null },
      };
      writeFileSync(path("config.json"), JSON.stringify({ host: { kept } }));
      casemate = await startCasemate({ state, args: ["--config", path("config.json")], keepState: true });
      admin = callerOf(casemate.url, readFileSync(join(state, "admin.key"), "utf8").trim());
      const account = await admin("POST", "/api/v1/accounts/create", { name: "travels", credits: 1000 });
      accountId = account.body.accountId;
      me = callerOf(casemate.url, account.body.apiToken);
      const tier = { name: "small", cpus: 1, gpus: 0, memoryMb: 1024, diskGb: 1, cost: 0.001 };
      expect((await admin("POST", "/api/v1/workload-tiers/create", tier)).status).toBe(201);
    }, IMAGE_MS);
    afterAll(async () => {
      await casemate?.[Symbol.asyncDispose]();
      await endSecond();
      await registry?.close();
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    }, SLOW_MS);

    /** As the first one is, but for all that two hosts cannot share. */
    const startSecond = () => {
      const place = path("second");
      for (const name of ["", "host", "run", "vms", "docker"])
        mkdirSync(join(place, name), { recursive: true, mode: 0o755 });
      const config = JSON.parse(readFileSync(join(casemate.state, "keys/host.json"), "utf8"));
      const { kept, signer } = config;
      const own = {
        ...config,
        ...{ stateFolder: join(place, "host"), sandboxFolder: join(place, "run") },
        ...{ signer: { folder: join(place, "signer"), kekPath: join(place, "kek"), uid: signer.uid + 900 } },
        ...{ proberUid: signer.uid + 901, ingressUid: signer.uid + 902 },
        uids: { base: 1_700_000_000, count: 1000 },
        traces: { folders: [], logs: [] },
        kept: {
          ...kept,
          docker: { ...kept.docker, folder: join(place, "docker") },
          qemu: {
            ...kept.qemu,
            ...{ folder: join(place, "vms"), uids: { base: 1_700_100_000, count: 400 } },
            addresses: "10.229.0.0/24",
          },
          ssh: null,
          ingress: { host: "127.0.0.1", httpPort: 0, httpsPort: 0 },
        },
      };
      writeFileSync(path("second.json"), JSON.stringify(own), { mode: 0o600 });
      const log = openSync(path("second.log"), "a");
      const words = [
        "--disable-warning=ExperimentalWarning",
        join(ROOT, "host/main.ts"),
        path("second.json"),
      ];
      second = spawn(process.execPath, words, { cwd: ROOT, stdio: ["ignore", log, log] });
    };
    const endSecond = async () => {
      if (second === null || second.exitCode !== null || second.signalCode !== null) return;
      const exited = new Promise((resolve) => second!.once("exit", resolve));
      second.kill("SIGTERM");
      await exited;
    };

    const shell = (text: string) => JSON.stringify(["/busybox", "sh", "-c", text]);
    const script = `printf '#!/busybox sh\\necho Content-Type: text/plain; echo; [ "$$REQUEST_METHOD" = POST ] && /busybox head -c "$$CONTENT_LENGTH" >> /data/kept; /busybox env | /busybox grep -o "^[A-Z]*=from.*"; /busybox cat /data/kept' > /www/cgi-bin/kept`;
    const serve = `/busybox mkdir -p /www/cgi-bin; ${script}; /busybox chmod 755 /www/cgi-bin/kept; trap "exit 0" TERM; /busybox httpd -f -p 8080 -h /www & wait`;
    const composeOf = (name: string) =>
      `services:\n  api:\n    image: ${registry.image}\n    command: ${shell(serve)}\n    environment: [${name}]\n    volumes: ["data:/data"]\nvolumes: {data: {}}\n`;
    const post = (what: string, body: object) => me("POST", `/api/v1/${what}`, body);
    const eventsOf = async () => (await post("workload-events/list", { workloadId: id })).body.events;
    const becomes = async (status: "running" | "error") => {
      for (const end = Date.now() + SLOW_MS; Date.now() < end; await sleep(200)) {
        const { body } = await me("GET", `/api/v1/workloads/${id}`);
        if (body.status === status) return;
        if (body.status === "error" || body.status === "stopped") break;
      }
      const { lines } = (await post("workloads/logs", { workloadId: id })).body;
      const log = existsSync(path("second.log")) ? readFileSync(path("second.log"), "utf8").slice(-3000) : "";
      throw new Error(`not ${status}: ${JSON.stringify(await eventsOf())} ${JSON.stringify(lines)} ${log}`);
    };
    /** A visitor, over TLS that ends in the machine. */
    const visit = async (...words: string[]): Promise<string> => {
      const url = new URL("/cgi-bin/kept", (await me("GET", `/api/v1/workloads/${id}`)).body.url);
      writeFileSync(path("ca.pem"), await (await fetch(`${casemate.url}/ca.pem`)).text());
      const args = ["-sf", "--max-time", "60", "--cacert", path("ca.pem"), ...words, url.href];
      return execFileSync("curl", args, { encoding: "utf8" });
    };
    const hosts = async (): Promise<{ id: string; machines: number; isolations: string[] }[]> =>
      (await admin("GET", "/platform/v1/hosts")).body.hosts;
    const disks = () =>
      [casemate.state, path("second")].flatMap((place) => globSync(join(place, "vms/t/vms/*/state.img")));

    it(
      "moves to another host with other variables, and what was written over HTTPS is there",
      async () => {
        await expect
          .poll(async () => (await admin("GET", "/health")).body.isolations, {
            timeout: SLOW_MS,
            interval: 500,
          })
          .toContain("vm-vtpm");
        const made = await post("workloads/create", {
          ...{ name: "travels", artifactsVersion: image.metadata.version, isolation: "vm-vtpm" },
          ...{
            publicContainerName: "api",
            publicContainerPort: 8080,
            memory: 1024,
            cpus: 1,
            disk: 1,
            gpus: 0,
          },
          ...{ dockerCompose: composeOf("FIRST"), envVars: { FIRST: "from the owner" } },
          dockerCredentials: [{ server: registry.server, username: "user", password: "of-the-registry-1" }],
        });
        expect([made.status, made.body]).toMatchObject([201, { isolation: "vm-vtpm" }]);
        id = made.body.workloadId;
        await becomes("running");
        expect(await visit("--data", "written-on-the-first")).toBe(
          "FIRST=from the owner\nwritten-on-the-first",
        );
        const [first] = await hosts();
        expect(disks()).toMatchObject([expect.stringContaining(casemate.state)]);
        startSecond();
        await expect
          .poll(async () => (await hosts()).find((host) => host.id !== first!.id)?.isolations, {
            timeout: SLOW_MS,
            interval: 500,
          })
          .toContain("vm-vtpm");
        expect((await admin("POST", `/platform/v1/hosts/${first!.id}/drain`, { move: true })).status).toBe(
          200,
        );
        const change = { dockerCompose: composeOf("SECOND"), envVars: { SECOND: "from the owner again" } };
        const updated = await me("PUT", "/api/v1/workloads/update", { workloadId: id, ...change });
        expect([updated.status, updated.body]).toMatchObject([
          200,
          { envVars: { SECOND: expect.any(String) } },
        ]);
        await expect
          .poll(async () => (await hosts()).find((host) => host.id === first!.id)?.machines, {
            timeout: SLOW_MS,
            interval: 500,
          })
          .toBe(0);
        await becomes("running");
        expect(await visit("--data", "-and-on-the-second")).toBe(
          "SECOND=from the owner again\nwritten-on-the-first-and-on-the-second",
        );
        await expect
          .poll(disks, { timeout: SLOW_MS })
          .toMatchObject([expect.stringContaining(path("second"))]);
        // What was carried is nothing that either host can read.
        const disk = readFileSync(disks()[0]!);
        for (const text of ["written-on-the-first", "from the owner"])
          expect(disk.includes(text), text).toBe(false);
      },
      SLOW_MS,
    );

    it(
      "an image that its owner has not approved gets nothing, and the approved one opens the same disk",
      async () => {
        const rule = { accountId, name: "travels", launchApproval: "explicit" };
        expect((await me("PUT", "/api/v1/accounts/update", rule)).status).toBe(200);
        const other = await otherImage(image, imagesFolder());
        expect(other.metadataSha256).not.toBe(image.metadataSha256);
        const update = { workloadId: id, artifactsVersion: other.metadata.version };
        expect((await me("PUT", "/api/v1/workloads/update", update)).body).toMatchObject({
          imageSha256: other.metadataSha256,
        });
        await becomes("error");
        const events = await eventsOf();
        const failed = events.findLast(
          ({ details }: { details: { kind: string } }) => details.kind === "failedToStart",
        );
        expect(failed.details.error).toMatch(/not approved by the workload's owner/);
        const launches = (await post("workloads/launches/list", { workloadId: id })).body;
        const refused = launches.find(
          ({ imageSha256 }: { imageSha256: string }) => imageSha256 === other.metadataSha256,
        );
        expect(refused).toMatchObject({ approvedAt: null });
        const { imageSha256, launchSha256 } = refused;
        const approval = { workloadId: id, imageSha256, launchSha256 };
        expect((await post("workloads/launches/approve", approval)).status).toBe(200);
        await post("workloads/restart", { workloadId: id });
        await becomes("running");
        expect(await visit()).toBe("SECOND=from the owner again\nwritten-on-the-first-and-on-the-second");
        writeFileSync(path("docker-compose.yaml"), composeOf("SECOND"));
        writeFileSync(path("roots.pem"), await (await fetch(`${casemate.url}/tpm-roots.pem`)).text());
        expect(await verify(other)).toMatchObject({ code: 0, accepted: true });
        // The former image is not what runs.
        expect(await verify(image)).toMatchObject({ code: 1, accepted: false });
        await post("workloads/delete", { workloadId: id });
        await expect.poll(disks, { timeout: SLOW_MS, interval: 500 }).toEqual([]);
      },
      SLOW_MS,
    );

    const verify = async (of: BuiltImage): Promise<{ code: number; accepted: boolean }> => {
      const url = new URL((await me("GET", `/api/v1/workloads/${id}`)).body.url);
      const own = ["--image", join(of.folder, METADATA_FILE), "--roots", path("roots.pem"), "--json"];
      const words = ["attest", "verify", url.origin, ...own, "--compose", path("docker-compose.yaml")];
      const { code, out } = await promisify(execFile)(join(ROOT, "casemate"), words, {
        timeout: SLOW_MS,
      }).then(
        ({ stdout }) => ({ code: 0, out: stdout }),
        (error: { code: number; stdout: string }) => ({ code: error.code, out: error.stdout }),
      );
      return { code, accepted: JSON.parse(out).accepted };
    };
  },
);

/**
 * The same guest in another image: one time in its initramfs is another, so its measurement is. It is the image of the release
 * from then on.
 */
async function otherImage(image: BuiltImage, imagesFolder: string): Promise<BuiltImage> {
  const inputs = { ...image.metadata.inputs, sha256: hash("sha256", `not ${image.metadata.inputs.sha256}`) };
  const folder = folderOf(imagesFolder, image.metadata.name, inputs.sha256);
  cpSync(image.folder, folder, { recursive: true, dereference: true });
  const change = (name: "initrd" | "image.efi", at: number) => {
    const bytes = readFileSync(join(folder, name));
    // Of a head of cpio ("newc"): six digits of magic, then eight of each number; the time is the sixth.
    const time = at + 6 + 5 * 8;
    expect(bytes.subarray(at, at + 6).toString()).toBe("070701");
    bytes.write(
      bytes.subarray(time, time + 8).equals(Buffer.from("00000001")) ? "00000002" : "00000001",
      time,
    );
    writeFileSync(join(folder, name), bytes);
    return { ...image.metadata.files[name], sha256: hash("sha256", bytes) };
  };
  const initrd = readFileSync(join(folder, "initrd"));
  const within = readFileSync(join(folder, "image.efi")).indexOf(initrd);
  const files = {
    ...image.metadata.files,
    initrd: change("initrd", 0),
    "image.efi": change("image.efi", within),
  };
  const facts = await bootFactsOf(readFileSync(join(folder, "image.efi")));
  const metadata = { ...image.metadata, inputs, files, boot: { ...image.metadata.boot, ...facts } };
  writeFileSync(join(folder, METADATA_FILE), metadataText(metadata));
  makeCurrent(folder);
  return readImage(folder);
}
