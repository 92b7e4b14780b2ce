// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the base image for real, from this machine's package sources, and boots it. The lock is made anew for it: what the
 * committed one names may be gone from the sources by the day this runs.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { KEPT_SPEC, linesOf } from "#drivers/conformance/kept-machine.ts";
import { newMachineId } from "#drivers/conformance/machine.ts";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import { connectSoon } from "#drivers/qemu/sockets.ts";
import * as kept from "#drivers/qemu/testing.ts";
import { TpmAuthority } from "#drivers/qemu/tpm-authority.ts";
import { manifestBytes } from "#evidence/launch/manifest.ts";
import { expectedRtmrs } from "#evidence/tdx/expected.ts";
import { parseEventLog, replay } from "#evidence/tpm/event-log.ts";
import { bootFactsOf, expectedPcrs, REQUIRED_PCRS } from "#evidence/tpm/expected.ts";
import { authenticodeSha256, authenticodeSha384, sectionsOf } from "#evidence/tpm/pe.ts";
import { GuestRefused } from "#guest/client.ts";
import type { Claim, Operations } from "#guest/protocol.ts";
import { openAuthority } from "#host/ingress/authority.ts";
import { certifyRequest } from "#host/ingress/certify.ts";
import { ask, DOMAIN } from "#host/ingress/testing.ts";
import { judgeTpmGuest } from "#testing/attested-guest.ts";
import { freePort } from "#testing/free-port.ts";
import { rehashedBoot } from "#testing/rehashed-boot.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { commandLine } from "./metadata.ts";
import { type BuiltImage, findImage } from "./store.ts";
import { type BootedOnce, type BootOptions, bootOnce } from "./testing.ts";
import { lackingForBuild } from "./tools.ts";

const CASEMATE = new URL("../casemate", import.meta.url).pathname;
/** As long as a slow machine with much else to do may take: nothing is claimed by it. */
const BUILD_MS = 600_000;
const BOOT_MS = 150_000;
const ASK = { timeoutMs: BOOT_MS };

const tools = { met: lackingForBuild(0) === null, reason: lackingForBuild(0) ?? "" };
const qemu = {
  met: spawnSync("qemu-system-x86_64", ["--version"]).status === 0,
  reason: "needs qemu-system-x86_64 (apt-get install qemu-system-x86)",
};
const FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const firmware = { met: existsSync(FIRMWARE), reason: "needs firmware (apt-get install ovmf)" };
const runs = (program: string, option: string) => spawnSync(program, [option]).error === undefined;
const swtpm = { met: runs("swtpm", "--version"), reason: "needs swtpm (apt-get install swtpm)" };
const ssh = { met: runs("ssh", "-V"), reason: "needs ssh (apt-get install openssh-client)" };
const debian = {
  met: /^(ID|ID_LIKE)=debian/m.test(readFileSync("/etc/os-release", "latin1")),
  reason: "needs Debian's package sources",
};

describeWith([root, tools, debian, qemu], "the base image", () => {
  let folder: string;
  let image: BuiltImage;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "casemate-image-"));
    await casemate(["lock", "base", "--state", join(folder, "one"), "--lock", lockFile()]);
    await casemate(["build", "base", "--state", join(folder, "one"), "--lock", lockFile()]);
    image = findImage(join(folder, "one", "images"), "base")!;
  }, BUILD_MS);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const lockFile = () => join(folder, "base.lock.json");

  test(
    "is the same to the last bit in another folder, umask, time zone, locale and order of files, and without package sources",
    async () => {
      // A file system in memory gives the names in a folder in another order.
      const memory = mkdtempSync(roomInMemory() ? "/dev/shm/casemate-image-" : join(folder, "two-"));
      try {
        const state = join(memory, "another state");
        mkdirSync(join(state, "images"), { recursive: true });
        cpSync(join(folder, "one/images/packages"), join(state, "images/packages"), { recursive: true });
        const env = {
          TZ: "Pacific/Chatham",
          LANG: "de_DE.UTF-8",
          LC_ALL: "tr_TR.UTF-8",
          SOURCE_DATE_EPOCH: "1",
        };
        const args = ["build", "base", "--state", state, "--lock", lockFile(), "--sources", "/dev/null"];
        await casemate(args, { umask: "077", cwd: "/", env });
        const second = findImage(join(state, "images"), "base")!;
        // Part by part first: a difference is easier to read than two hashes of hashes.
        expect(second.metadata.files).toEqual(image.metadata.files);
        expect(second.metadataSha256).toBe(image.metadataSha256);
      } finally {
        rmSync(memory, { recursive: true, force: true });
      }
    },
    BUILD_MS,
  );

  test("is not built twice of the same, is signed by the installation, and says when a file of it was changed", async () => {
    const state = join(folder, "one");
    const again = await casemate(["build", "base", "--state", state, "--lock", lockFile()]);
    expect(again).toMatch(/built before/);
    expect(await casemate(["list", "--state", state])).toMatch(/^\* base .* ok$/m);
    const kernel = join(image.folder, "kernel");
    copyFileSync(kernel, join(folder, "kernel"));
    flip(kernel, 4096);
    await expect(casemate(["list", "--state", state])).rejects.toThrow(/kernel is not what it was/);
    copyFileSync(join(folder, "kernel"), kernel);
    expect(await casemate(["list", "--state", state])).toMatch(/ ok$/m);
  });

  test("says of every file which package brought it", () => {
    const files = JSON.parse(readFileSync(join(image.folder, "contents.json"), "utf8")) as {
      path: string;
      kind: string;
      sha256?: string;
      from: string | null;
    }[];
    expect(files.find(({ path }) => path === "/usr/sbin/sshd")?.from).toMatch(/^openssh-server /);
    expect(
      files.filter(({ path }) => /ssh_host_|\.deb$|\/root\/\./.test(path)).map(({ path }) => path),
    ).toEqual(expect.not.arrayContaining([expect.stringMatching(/ssh_host_|\.deb$/)]));
    expect(
      files.filter(({ kind, sha256 }) => kind === "file" && !/^[0-9a-f]{64}$/.test(sha256 ?? "")),
    ).toEqual([]);
  });

  let machine: BootedOnce | null = null;
  let boots = 0;
  afterEach(async () => {
    await machine?.stop();
    machine = null;
  });
  const MANIFEST = Buffer.from(
    manifestBytes({
      ...{ v: 1, compose: "0".repeat(64), files: {}, domains: [DOMAIN], images: {} },
      ...{ publicService: "api", publicPort: 80, stateDisk: false },
    }),
  );
  const line = () => commandLine(image.metadata, createHash("sha256").update(MANIFEST).digest("hex"));
  type Given = Partial<Pick<BootOptions, "disk" | "sshPort" | "httpsPort" | "start" | "words">> & {
    line?: string;
  };
  function boot(given: Given = {}): BootedOnce {
    const work = join(folder, `boot-${++boots}`);
    mkdirSync(work);
    machine = bootOnce({
      work,
      start: given.start ?? { kernel: join(image.folder, "kernel"), initrd: join(image.folder, "initrd") },
      ...{ disk: given.disk ?? join(image.folder, "root.img"), commandLine: given.line ?? line() },
      ...(given.sshPort !== undefined && { sshPort: given.sshPort }),
      ...(given.httpsPort !== undefined && { httpsPort: given.httpsPort }),
      ...(given.words !== undefined && { words: given.words }),
    });
    return machine;
  }
  const claim = (change: Partial<Claim> = {}): Claim => ({
    ...{ claimId: "claim-1", entropy: randomBytes(64).toString("base64"), timeMs: 1_900_000_000_000 },
    manifest: MANIFEST.toString("base64"),
    authorizedKeys: [`ssh-ed25519 ${Buffer.alloc(51).toString("base64")} nobody`],
    network: { address: "10.0.2.15/24", gateway: "10.0.2.2", nameServers: ["10.0.2.3"] },
    ...change,
  });

  test(
    "boots, is claimed once and for the measured launch only, answers SSH with a key of its own, and powers off",
    async () => {
      const sshPort = await freePort();
      const { guest: up, ended } = boot({ sshPort });
      const guest = await up(BOOT_MS);
      expect(guest.welcome).toMatchObject({ claimed: false, agent: image.metadata.version });
      expect(await guest.ask("health", {}, ASK)).toMatchObject({ claimed: false, ssh: "off" });
      const refused = async (change: Partial<Claim>, code: string) =>
        expect(await guest.ask("claim", claim(change), ASK).catch((error) => error)).toMatchObject({ code });
      await refused({ manifest: Buffer.from("another").toString("base64") }, "launch-mismatch");
      await refused({ entropy: randomBytes(16).toString("base64") }, "malformed");
      await refused({ authorizedKeys: ["one\ntwo x"] }, "malformed");
      await refused({ hostname: "a b" }, "malformed");
      await refused({ network: { address: "10.0.2.15", gateway: "10.0.2.2", nameServers: [] } }, "malformed");
      await refused({ timeMs: 0 }, "malformed");
      const claimed = await guest.ask("claim", claim(), ASK);
      expect(claimed.sshHostKeys).toEqual([expect.stringMatching(/^ssh-ed25519 /)]);
      expect(await guest.ask("claim", claim(), ASK)).toEqual(claimed);
      await refused({ claimId: "claim-2" }, "already-claimed");
      const health = await guest.ask("health", {}, ASK);
      expect(health).toMatchObject({ claimed: true, ssh: "running" });
      expect(health.timeMs).toBeGreaterThanOrEqual(1_900_000_000_000);
      await expect.poll(() => firstBytes(sshPort), { timeout: BOOT_MS }).toMatch(/^SSH-2\.0-/);
      // Another host process takes over: the machine is the same, and claimed.
      guest.close();
      const next = await machine!.guest(BOOT_MS);
      expect(next.welcome.claimed).toBe(true);
      await next.ask("shutdown", {}, ASK);
      expect(await ended).toBe(0);
    },
    2 * BOOT_MS,
  );

  test(
    "answers what is no question with a refusal, and the next one as if nothing had been",
    async () => {
      boot();
      const port = join(folder, `boot-${boots}`, "port.sock");
      const socket = await connectSoon(port, AbortSignal.timeout(BOOT_MS));
      let said = "";
      socket.on("data", (chunk) => {
        said += chunk;
      });
      const answer = async (bytes: string) => {
        said = "";
        socket.write(bytes);
        await expect.poll(() => said.trim().split("\n").at(-1), { timeout: BOOT_MS }).toMatch(/\}$/);
        return said.trim();
      };
      expect(await answer('\n{"id":1,"op":"health","args":{}}\n')).toMatch(/no-session/);
      expect(await answer('{"hello":{"protocols":[99],"session":"a"}}\n')).toMatch(/"protocol":null/);
      expect(await answer('{"id":1,"op":"health","args":{}}\n')).toMatch(/no-session/);
      expect(await answer('{"hello":{"protocols":[99,1],"session":"b"}}\n')).toMatch(/"protocol":1/);
      for (const bad of [
        "x",
        "[]",
        "null",
        "{}",
        '{"id":0,"op":"health","args":{}}',
        '{"id":"1","op":"health"}',
        "\xff\xfe",
        '{"id":2,"op":"health","args":{}} {}',
      ])
        expect(await answer(`${bad}\n`)).toMatch(/"id":null.*malformed|malformed.*"id":null/);
      expect(await answer('{"id":2,"op":"health","args":{"x":1}}\n')).toMatch(/malformed.*"id":2/);
      expect(await answer('{"id":3,"op":"rm","args":{}}\n')).toMatch(/unknown-operation.*"id":3/);
      expect(await answer(`${"a".repeat(400_000)}\n`)).toMatch(/too-large/);
      expect(await answer('{"id":4,"op":"health","args":{}}\n')).toMatch(/"id":4,"ok"/);
      socket.destroy();
    },
    2 * BOOT_MS,
  );

  test.each([
    ["another root hash", () => line().replace(/(casemate\.root=)[0-9a-f]{8}/, "$100000000"), /mount erofs/],
    ["a second root hash", () => `${line()} casemate.root=${"ab".repeat(32)}`, /says casemate\.root twice/],
    [
      "a second launch hash",
      () => `${line()} casemate.launch=${"ab".repeat(32)}`,
      /says casemate\.launch twice/,
    ],
    ["no launch hash", () => line().replace(/ casemate\.launch=\S+/, ""), /no casemate\.launch/],
    ["no root hash", () => line().replace(/ casemate\.root=\S+/, ""), /no casemate\.root/],
    [
      "another number of blocks",
      () => line().replace(/casemate\.blocks=\d+/, "casemate.blocks=1"),
      /refused/,
    ],
    ["a word of ours that is not known", () => `${line()} casemate.debug=1`, /not known/],
  ])(
    "with %s on the command line powers off before it answers anybody",
    async (_, changed, complaint) => {
      const { console: said, ended } = boot({ line: changed() });
      expect(await ended).toBe(0);
      expect(said()).toMatch(complaint);
      expect(said()).not.toMatch(/casemate: ready/);
    },
    BOOT_MS,
  );

  test(
    "refuses to read a block of the root that was changed, and does not run what lies there",
    async () => {
      const disk = join(folder, "changed.img");
      copyFileSync(join(image.folder, "root.img"), disk);
      flip(disk, offsetOf(disk, "/usr/sbin/sshd"));
      const { guest: up, console: said } = boot({ disk });
      const guest = await up(BOOT_MS);
      const refusal = await guest.ask("claim", claim(), ASK).catch((error) => error);
      expect(refusal).toBeInstanceOf(GuestRefused);
      expect(refusal).toMatchObject({ code: "failed" });
      await expect.poll(said, { timeout: BOOT_MS }).toMatch(/verity: .*data block \d+ is corrupted/);
      // Half a claim is none: nobody can try to repair it from outside.
      expect(await guest.ask("claim", claim(), ASK).catch((error) => error)).toMatchObject({
        code: "already-claimed",
      });
      guest.close();
    },
    2 * BOOT_MS,
  );

  describeWith([firmware, swtpm, kept.swtpmSetup, ssh], "started by firmware with a virtual TPM", () => {
    let endorsed: TpmAuthority;
    let tpm: ChildProcess | null = null;
    let socket: string;
    beforeEach(async () => {
      const state = mkdtempSync(join(folder, "tpm-"));
      socket = join(state, "sock");
      endorsed = new TpmAuthority({ folder: join(folder, "tpm-authority"), program: "/usr/bin/swtpm_setup" });
      await endorsed.endow(state, AbortSignal.timeout(BOOT_MS));
      const place = ["--tpmstate", `dir=${state}`, "--ctrl", `type=unixio,path=${socket}`];
      tpm = spawn("swtpm", ["socket", "--tpm2", ...place, "--terminate"], { stdio: "ignore" });
      await expect.poll(() => existsSync(socket), { timeout: BOOT_MS }).toBe(true);
    }, BOOT_MS);
    afterEach(async () => {
      await machine?.stop();
      tpm?.kill();
    });
    const firmwareStart = () => {
      const variables = `${socket}.variables`;
      copyFileSync(FIRMWARE.replace("_CODE_", "_VARS_"), variables);
      return { firmware: FIRMWARE, variables, image: join(image.folder, "image.efi"), tpm: socket };
    };

    test(
      "takes a second line from firmware's tables, as the stub does, into the registers of the line and into no other",
      async () => {
        const extra = "type=11,value=io.systemd.stub.kernel-cmdline-extra=init=/bin/sh";
        const guest = await boot({ start: firmwareStart(), words: ["-smbios", extra] }).guest(BOOT_MS);
        await guest.ask("claim", claim({ endorsers: await endorsed.chain() }), ASK);
        const { bundle } = await guest.ask("evidence", { purpose: "seal", nonce: "00".repeat(32) }, ASK);
        const { eventLog } = bundle as { eventLog: string };
        const registers = await replay(parseEventLog(Uint8Array.from(Buffer.from(eventLog, "base64"))));
        const expected = await expectedPcrs(image.metadata.boot, line());
        const moved = REQUIRED_PCRS.filter(
          (pcr) => Buffer.from(registers.get(pcr)!).toString("hex") !== expected[pcr],
        );
        expect(moved).toEqual([9, 12]);
        guest.close();
      },
      3 * BOOT_MS,
    );

    test(
      "comes to the registers that a verifier computes from image.json and the command line alone, and attests it to strangers",
      async () => {
        const chain = await endorsed.chain();
        const sshPort = await freePort();
        const start = firmwareStart();
        const httpsPort = await freePort();
        const { guest: up, ended } = boot({ start, sshPort, httpsPort });
        const guest = await up(BOOT_MS);
        const key = join(folder, "login");
        execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
        const authorizedKeys = [readFileSync(`${key}.pub`, "utf8").trim()];
        const { sshHostKeys, keys } = await guest.ask(
          "claim",
          claim({ authorizedKeys, endorsers: chain }),
          ASK,
        );
        const known = join(folder, "known");
        // Only the key that the guest said is its own is taken.
        writeFileSync(known, `[127.0.0.1]:${sshPort} ${sshHostKeys[0]}\n`);
        const options = [
          "-o",
          `UserKnownHostsFile=${known}`,
          "-o",
          "StrictHostKeyChecking=yes",
          "-o",
          "BatchMode=yes",
        ];
        const read = "cd /sys/class/tpm/tpm0/pcr-sha256 && grep . 4 9 11 12";
        const login = ["-i", key, "-p", `${sshPort}`, ...options, "root@127.0.0.1", read];
        const said = await output("ssh", login);
        const found = Object.fromEntries(
          said
            .trim()
            .split("\n")
            .map((each) => each.toLowerCase().split(":")),
        );
        const pcrs = await expectedPcrs(image.metadata.boot, line());
        expect(found).toEqual(pcrs);
        // And the same from the image alone, without the metadata.
        expect(image.metadata.boot).toMatchObject(await bootFactsOf(readFileSync(start.image)));

        const nonce = randomBytes(32);
        const judged = {
          keys,
          chain,
          pcrs,
          activate: (ask: Operations["activate"][0]) => guest.ask("activate", ask, ASK),
        };
        const sealingKey = Buffer.from(keys.sealing, "base64");
        const sealing = await guest.ask("evidence", { purpose: "seal", nonce: nonce.toString("hex") }, ASK);
        const binding = { form: "seal", nonce, sealingKey } as const;
        const { eventLog } = sealing.bundle as { eventLog: string };
        const rehashed = rehashedBoot(Buffer.from(eventLog, "base64"), await knownOf(image.folder, line()));
        expect(rehashed.rtmrs).toEqual(await expectedRtmrs(image.metadata.boot, line()));
        const verdict = await judgeTpmGuest({ ...judged, bundle: sealing.bundle, binding });
        expect(verdict.steps.filter(({ ok }) => !ok)).toEqual([]);
        expect(verdict.accepted).toBe(true);

        const { authority } = await openAuthority(join(folder, "authority"), new Date());
        const request = Buffer.from(keys.request!, "base64");
        const { certificatePem } = await certifyRequest(authority, [DOMAIN], request, new Date());
        await guest.ask("certificate", { chain: certificatePem }, ASK);
        const gate = { httpPort: 0, httpsPort, caPem: authority.caPem };
        // There is no workload in this image.
        expect((await ask(gate, "https")).status).toBe(503);
        const path = `/nilcc/api/v2/report?nonce=${nonce.toString("hex")}`;
        const report = JSON.parse((await ask(gate, "https", { path })).body);
        expect(report).toMatchObject({ platform: "tpm", hardware: false, sealing_key: keys.sealing });
        const seen = await judgeTpmGuest({
          ...judged,
          bundle: report.evidence,
          binding: { form: "report", nonce },
          activate: async (body) => {
            const what = { method: "POST", path: "/nilcc/api/v2/activate", body: JSON.stringify(body) };
            return JSON.parse((await ask(gate, "https", what)).body);
          },
        });
        expect(seen.steps.filter(({ ok }) => !ok)).toEqual([]);
        // The front ends with its machine, and is not started again for it.
        await guest.ask("shutdown", {}, ASK);
        expect(await ended).toBe(0);
        guest.close();
      },
      3 * BOOT_MS,
    );
  });

  describeWith([kept.swtpm, kept.firmware], "as a kept machine", () => {
    test(
      "starts by its unified image with firmware and a TPM, is found by the next host process, and is halted",
      async () => {
        // Machines have uids of their own, which read the image where it lies.
        for (const path of [folder, join(folder, "one"), join(folder, "one/images")]) chmodSync(path, 0o755);
        const bench = kept.openMachines();
        try {
          const id = newMachineId();
          const spec = { ...KEPT_SPEC, isolation: "vm-vtpm" as const, cpuMillis: 1000, memoryMiB: 512 };
          const started = await bench.machines.start(
            id,
            spec,
            {
              boot: { kernel: join(image.folder, "image.efi"), initrd: null, line: line() },
              ...{ firmware: kept.FIRMWARE, tpm: true, scratchMiB: 16, publicPort: 22, network: null },
              roots: [{ path: join(image.folder, "root.img"), readOnly: true, serial: "root" }],
            },
            { onRecord: async () => {}, onProgress: () => {}, signal: AbortSignal.timeout(BOOT_MS) },
          );
          expect(started.guest.welcome).toMatchObject({ claimed: false, agent: image.metadata.version });
          await started.guest.ask("claim", claim({ authorizedKeys: [] }), ASK);
          await bench.machines.close();
          const next = bench.open();
          expect(await next.find(id, started.record)).toEqual({
            state: "running",
            endpoint: started.endpoint,
          });
          expect((await next.guest(id)).welcome.claimed).toBe(true);
          await next.halt(id, started.record);
          expect(bench.processes(id)).toEqual([]);
          // By its agent: nobody had to end it.
          expect((await linesOf(next as unknown as KeptDriver, id, null)).slice(-2)).toEqual([
            "asked to shut down",
            "halted",
          ]);
          await next.remove(id, started.record);
          expect(bench.traces(id)).toEqual([]);
        } finally {
          await bench.close();
        }
      },
      3 * BOOT_MS,
    );
  });
});

/** A build takes about 700 MB at its most. */
function roomInMemory(): boolean {
  if (!existsSync("/dev/shm")) return false;
  const { bavail, bsize } = statfsSync("/dev/shm");
  return bavail * bsize > 2 * 2 ** 30;
}

function flip(file: string, at: number): void {
  const descriptor = openSync(file, "r+");
  const byte = readFileSync(file).subarray(at, at + 1);
  writeSync(descriptor, Buffer.from([byte[0]! ^ 1]), 0, 1, at);
}

/** In the middle of a file's bytes in the file system, as its own tool says. */
function offsetOf(disk: string, path: string): number {
  const extents = execFileSync("dump.erofs", ["-e", `--path=${path}`, disk], { encoding: "utf8" });
  const [, start, end] = /\|\s*\d+ :\s*(\d+)\.\.\s*(\d+) \|/.exec(extents) ?? [];
  if (start === undefined || end === undefined) throw new Error(`no extents in ${extents}`);
  return Math.floor((Number(start) + Number(end)) / 2);
}

function firstBytes(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("data", (chunk) => {
      socket.destroy();
      resolve(chunk.toString("latin1"));
    });
    socket.once("error", () => resolve(""));
    socket.once("close", () => resolve(""));
  });
}

function casemate(
  args: string[],
  { umask = "022", cwd = tmpdir(), env = {} as Record<string, string> } = {},
): Promise<string> {
  const command = ["-c", `umask ${umask}; exec nice "$@"`, "sh", CASEMATE, "images", ...args];
  return output("sh", command, { cwd, env: { ...process.env, ...env } });
}

/** What it wrote to standard output; rejects with all that it wrote. */
function output(command: string, args: string[], options: SpawnOptions = {}): Promise<string> {
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let [out, all] = ["", ""];
  child.stdout!.on("data", (text) => {
    out += text;
    all += text;
  });
  child.stderr!.on("data", (text) => {
    all += text;
  });
  return new Promise((resolve, reject) => {
    child.once("close", (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${command} ended with ${code}: ${all}`)),
    );
  });
}

/** SHA-384 of what an image's boot measures, by SHA-256, from its own files. */
async function knownOf(folder: string, line: string): Promise<Map<string, Uint8Array>> {
  const image = new Uint8Array(readFileSync(join(folder, "image.efi")));
  const kernel = new Uint8Array(readFileSync(join(folder, "kernel")));
  const hashed = (bytes: Uint8Array): [string, Uint8Array] => [
    createHash("sha256").update(bytes).digest("hex"),
    createHash("sha384").update(bytes).digest(),
  ];
  const programs = [image, kernel].map(
    async (file): Promise<[string, Uint8Array]> => [
      await authenticodeSha256(file),
      Buffer.from(await authenticodeSha384(file), "hex"),
    ],
  );
  const names = [".linux", ".initrd", ".sbat"];
  return new Map([
    ...(await Promise.all(programs)),
    ...names.map((name) => hashed(Buffer.from(`${name}\0`))),
    ...[readFileSync(join(folder, "kernel")), readFileSync(join(folder, "initrd"))].map(hashed),
    hashed(sectionsOf(image).get(".sbat")!.bytes),
    hashed(Buffer.from(`${line}\0`, "utf16le")),
  ]);
}
