// SPDX-License-Identifier: Apache-2.0
/**
 * The image for workloads, booted, with a compose file in it: from the sealed box to what a visitor is answered, and over three
 * starts of one machine with its disk. Its registry is of this computer, behind a door of the guest's, as the installation's is.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type FakeRegistry, fakeRegistry } from "#drivers/docker/fake-registry.ts";
import { qemu } from "#drivers/qemu/testing.ts";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import { type Authority, openAuthority } from "#host/ingress/authority.ts";
import { certifyRequest } from "#host/ingress/certify.ts";
import { ask as askOver, DOMAIN } from "#host/ingress/testing.ts";
import { commandLine } from "#images/metadata.ts";
import type { BuiltImage } from "#images/store.ts";
import { type BootedOnce, bootOnce } from "#images/testing.ts";
import { freePort } from "#testing/free-port.ts";
import { describeWith } from "#testing/requirements.ts";
import { buildWorkloadImage, IMAGE_MS, workloadImage } from "#testing/workload-image.ts";
import type { Guest } from "./client.ts";
import { type GuestSecrets, type GuestStatus, PART_BYTES_MAX } from "./protocol.ts";
import { sealBox } from "./seal.ts";

/** As long as an emulated machine on a busy computer may take: nothing is claimed by it. */
const SLOW_MS = 400_000;
const ASK = { timeoutMs: 200_000 };
const PASSWORD = "of-the-registry-1";
const SECRET = `line 1 "$HOME" \${X} 'q' \\ of-the-owner`;
const WRITTEN = "written-by-the-workload";
const sha = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");
const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString("base64");

describeWith([workloadImage, qemu], "a workload in a guest", () => {
  let folder: string;
  let image: BuiltImage;
  let registry: FakeRegistry;
  let authority: Authority;
  let compose: string;
  let disk: string;
  let booted: BootedOnce | null = null;
  const stateKey = base64(randomBytes(64));
  const FILE = "of a file that was uploaded\n";

  beforeAll(async () => {
    image = await buildWorkloadImage();
    folder = mkdtempSync(join(tmpdir(), "casemate-workload-"));
    ({ authority } = await openAuthority(join(folder, "authority"), new Date()));
    registry = await fakeRegistry("user", PASSWORD);
    disk = join(folder, "state");
    writeFileSync(disk, "");
    truncateSync(disk, 300 * 2 ** 20);
    const shell = (text: string) => JSON.stringify(["/busybox", "sh", "-c", text]);
    const serve = `/busybox mkdir /www; echo ${WRITTEN} >> /data/kept; /busybox sync; (echo home=$$HOME memory=$$(/busybox cat /sys/fs/cgroup/memory.max); echo "$$OWN"; /busybox cat /file /data/kept) > /www/index.html; echo to stdout; echo to stderr >&2; trap "exit 0" TERM; /busybox httpd -f -p 8080 -h /www & wait`;
    compose = `
services:
  web:
    image: ${registry.image}
    command: ${shell(serve)}
    environment: [OWN]
    volumes: ["data:/data", "$FILES/some/file:/file:ro"]
    healthcheck: {test: [CMD, /busybox, test, -f, /www/index.html], interval: 1s}
    restart: always
    init: true
    mem_limit: 64m
  visitor:
    image: ${registry.image}
    command: ${shell(`/busybox wget -q -O - http://web:8080/; exit 3`)}
    depends_on: {web: {condition: service_healthy}}
volumes: {data: {}}
`;
  }, IMAGE_MS);
  afterEach(async () => {
    await booted?.stop();
    booted = null;
  });
  afterAll(async () => {
    await registry?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const manifest = (): LaunchManifest => ({
    ...{ v: 1, compose: sha(compose), files: { "some/file": sha(FILE) }, domains: [DOMAIN] },
    ...{ publicService: "web", publicPort: 8080, stateDisk: true },
    images: { web: `${registry.server}/team/app@${registry.digest}` },
  });
  const secrets = (): GuestSecrets => ({
    ...{ v: 1, machineId: "mach-1", incarnation: 1, compose, env: { OWN: "of control" } },
    ...{ files: { "some/file": base64(FILE) }, stateKey },
    registries: [{ server: registry.server, username: "user", password: PASSWORD }],
  });

  interface Machine {
    guest: Guest;
    up(change?: Partial<GuestSecrets>): Promise<unknown>;
    /** Until it is up, or is not going to be; and all that it said on the way. */
    settled(): Promise<{ status: GuestStatus; said: string }>;
    page(): Promise<{ status: number; body: string }>;
    shutDown(): Promise<void>;
  }
  let starts = 0;
  const start = async (): Promise<Machine> => {
    const work = join(folder, `start-${++starts}`);
    mkdirSync(work);
    const httpsPort = await freePort();
    const launch = manifestBytes(manifest());
    const port = Number(registry.server.split(":")[1]);
    const machine = bootOnce({
      ...{ work, disk: join(image.folder, "root.img"), memoryMiB: 1024, outward: true },
      start: { kernel: join(image.folder, "kernel"), initrd: join(image.folder, "initrd") },
      commandLine: commandLine(image.metadata, sha(launch)),
      httpsPort,
      disks: [{ path: disk, serial: "state" }],
    });
    booted = machine;
    const guest = await machine.guest(ASK.timeoutMs);
    const { keys } = await guest.ask(
      "claim",
      {
        ...{ claimId: `start-${starts}`, entropy: base64(randomBytes(32)), timeMs: Date.now() },
        ...{ manifest: base64(launch), authorizedKeys: [], doors: [port] },
        network: { address: "10.0.2.15/24", gateway: "10.0.2.2", nameServers: [] },
      },
      ASK,
    );
    const request = Buffer.from(keys.request!, "base64");
    const signed = await certifyRequest(authority, [DOMAIN], request, new Date());
    await guest.ask("certificate", { chain: signed.certificatePem }, ASK);
    const to = {
      sealingKey: Uint8Array.from(Buffer.from(keys.sealing, "base64")),
      launchSha256: Uint8Array.from(Buffer.from(sha(launch), "hex")),
    };
    const up = async (change: Partial<GuestSecrets> = {}) => {
      const sealedEnv = base64(await sealBox("env", to, Buffer.from(JSON.stringify({ OWN: SECRET }))));
      const plain = Buffer.from(JSON.stringify({ ...secrets(), sealedEnv, ...change }));
      const box = await sealBox("secrets", to, plain);
      const of = Math.ceil(box.length / PART_BYTES_MAX);
      for (let part = 0; part < of; part++) {
        const piece = box.subarray(part * PART_BYTES_MAX, (part + 1) * PART_BYTES_MAX);
        await guest.ask("payload", { part, of, bytes: base64(piece) }, ASK);
      }
      return guest.ask("up", {}, ASK);
    };
    const settled = async () => {
      const said: string[] = [];
      for (const end = Date.now() + SLOW_MS; ; ) {
        const status = await guest.ask("status", {}, ASK);
        if (said.at(-1) !== status.detail) said.push(status.detail);
        if (["running", "failed", "ended"].includes(status.phase) || Date.now() > end)
          return { status, said: said.join("\n") };
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    };
    const page = () => askOver({ httpPort: 0, httpsPort, caPem: authority.caPem }, "https");
    const shutDown = async () => {
      await guest.ask("shutdown", {}, ASK);
      expect(await machine.ended).toBe(0);
      expect(machine.console()).not.toMatch(/not given back/);
    };
    return { guest, up, settled, page, shutDown };
  };
  const written = (body: string) => body.split("\n").filter((line) => line === WRITTEN).length;
  const blobs = () => registry.requests.filter((line) => line.includes("/blobs/") && line.endsWith("200"));

  test(
    "runs the compose file that was measured, with what was sealed, and shows of it what is public",
    async () => {
      const { guest, up, settled, page, shutDown } = await start();
      expect((await page()).status).toBe(503);
      await up();
      const { status, said } = await settled();
      expect(status).toMatchObject({ phase: "running", public: true });
      const digest = `${registry.server}/team/app@${registry.digest}`;
      expect(status.images).toEqual([
        { service: "visitor", reference: registry.image, digest },
        { service: "web", reference: registry.image, digest },
      ]);
      // What is pulled second is there already, and may be through between two looks.
      expect(said).toContain(`pulling ${registry.image} (1 of 2)`);
      for (const secret of [PASSWORD, SECRET.slice(0, 12), stateKey.slice(0, 32)])
        expect(said).not.toContain(secret);
      const { body } = await page();
      expect(body).toBe(`home=/ memory=${64 * 2 ** 20}\n${SECRET}\n${FILE}${WRITTEN}\n`);

      // What waited for the other's health found it by its name, and its end is not the workload's.
      const containers = () => guest.ask("containers", {}, ASK);
      const stateOf = async (name: string) =>
        (await containers()).containers.find(({ names }) => names[0] === name)?.state;
      await expect.poll(() => stateOf("visitor"), { timeout: SLOW_MS }).toBe("exited");
      expect(await stateOf("web")).toBe("running");
      const logs = (container: string, stream: "stdout" | "stderr") =>
        guest.ask("logs", { container, stream, tail: true, linesMax: 100, timestamps: false }, ASK);
      expect((await logs("visitor", "stdout")).lines).toContain(WRITTEN);
      expect((await logs("web", "stdout")).lines).toEqual(["to stdout"]);
      expect((await logs("web", "stderr")).lines).toEqual(["to stderr"]);
      const { memory, cpus, disks } = await guest.ask("stats", {}, ASK);
      expect(memory.usedBytes).toBeGreaterThan(2 ** 26);
      expect(cpus).toHaveLength(1);
      expect(disks).toMatchObject([{ filesystem: "ext4", mountPoint: "/var/lib/containers" }]);
      expect((await guest.ask("status", {}, ASK)).phase).toBe("running");
      await expect(up()).rejects.toMatchObject({ code: "failed" });

      await shutDown();
      const raw = readFileSync(disk);
      for (const text of [WRITTEN, FILE.trim(), "services:", SECRET.slice(-12)])
        expect(raw.includes(text), text).toBe(false);
    },
    SLOW_MS,
  );

  test(
    "refuses its disk with another key, writing nothing, and with its own has its data and its images still",
    async () => {
      const before = { disk: sha(readFileSync(disk)), blobs: blobs().length };
      truncateSync(disk, 340 * 2 ** 20);
      const { guest, up, settled, page } = await start();
      const refused = up({ stateKey: base64(randomBytes(64)) });
      await expect(refused).rejects.toMatchObject({ code: "state-unreadable" });
      expect(sha(readFileSync(disk).subarray(0, 300 * 2 ** 20))).toBe(before.disk);
      await up();
      expect((await settled()).status).toMatchObject({ phase: "running" });
      expect(written((await page()).body)).toBe(2);
      expect(blobs()).toHaveLength(before.blobs);
      // The disk is larger by 40 MiB, and so is what is on it.
      const [store] = (await guest.ask("stats", {}, ASK)).disks;
      expect(store!.sizeBytes).toBeGreaterThan(300 * 2 ** 20);
      // Ended by a loss of power, with which the test goes on.
    },
    SLOW_MS,
  );

  test(
    "has its data still after a loss of power, and tells when a login is refused without saying which",
    async () => {
      const { up, settled } = await start();
      const registries = [{ server: registry.server, username: "user", password: "wrong-password" }];
      await up({ registries });
      const { status, said } = await settled();
      expect(status).toMatchObject({ phase: "failed", public: false });
      expect(said).not.toContain("wrong-password");
      await booted!.stop();
      const again = await start();
      await again.up();
      expect((await again.settled()).status).toMatchObject({ phase: "running" });
      expect(written((await again.page()).body)).toBe(3);
      await again.guest.ask("down", {}, ASK);
      await expect
        .poll(async () => (await again.guest.ask("status", {}, ASK)).phase, { timeout: SLOW_MS })
        .toBe("idle");
      expect((await again.guest.ask("status", {}, ASK)).public).toBe(false);
      await again.shutDown();
    },
    2 * SLOW_MS,
  );
});
