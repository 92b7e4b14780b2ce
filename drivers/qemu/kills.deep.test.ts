// SPDX-License-Identifier: Apache-2.0
/**
 * Each stage of a machine's life, and the host process, its QEMU or its TPM killed there: nothing of it is orphaned, and what the host
 * says is so. The whole of the kept half: record, image, network, TPM, QEMU, claim, certificate, secrets. Only the guest is small.
 * One machine goes through all the stages: each start begins on what the kill before it has left.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { hash, randomBytes, webcrypto } from "node:crypto";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import "#host/ingress/reflect-metadata.ts";
import * as x509 from "@peculiar/x509";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Desired, Observation } from "#contract/link/machine.ts";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import { metadataSha256, metadataText } from "#images/metadata.ts";
import { folderOf, METADATA_FILE, makeCurrent } from "#images/store.ts";
import type { Go, KeptVmHostInput } from "#testing/kept-vm-host.ts";
import { statusOf } from "#testing/process-status.ts";
import { describeWith } from "#testing/requirements.ts";
import { makeSmallGuest, type SmallGuest, smallGuest } from "#testing/small-guest.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { KEPT_SPEC } from "../conformance/kept-machine.ts";
import { newMachineId } from "../conformance/machine.ts";
import { listPids } from "../sandbox/process-table.ts";
import { Taps } from "./network/taps.ts";
import { ownNetworks } from "./network/testing.ts";
import { openMachines, qemu, swtpm, swtpmSetup, type TestMachines } from "./testing.ts";

const PROGRAM = new URL("../../testing/kept-vm-host.ts", import.meta.url).pathname;
/** As long as emulated machines on a busy computer may take. */
const SLOW_MS = 100_000;
const TEST_MS = 600_000;
const DOMAIN = "a.workloads.test";
const SPEC = {
  ...KEPT_SPEC,
  ...{ isolation: "vm-vtpm" as const, cpuMillis: 1000, memoryMiB: 128 },
  kept: { diskMiB: 8, scratchMiB: 8, labels: {}, domains: [DOMAIN] },
};
const LAUNCH: LaunchManifest = {
  ...{ v: 1, compose: "a".repeat(64), files: {}, domains: [DOMAIN] },
  ...{ publicService: "web", publicPort: 80, images: {}, stateDisk: true },
};

interface Said {
  report?: Observation;
  adopted?: true;
  claimed?: true;
  reaped?: number;
}

describeWith([qemu, smallGuest, swtpm, swtpmSetup, ownNetworks], "of a machine", () => {
  let guest: SmallGuest;
  let bench: TestMachines;
  let id: string;
  let space: string;
  let input: KeptVmHostInput;
  let generation: number;
  let incarnation: number;
  const children = new Set<ChildProcess>();
  beforeAll(async () => {
    guest = makeSmallGuest(await requestOf(DOMAIN));
  });
  afterAll(() => guest?.[Symbol.dispose]());
  beforeEach(async () => {
    bench = openMachines();
    id = newMachineId();
    [generation, incarnation] = [1, 1];
    space = `casemate-host-${randomBytes(3).toString("hex")}`;
    execFileSync("ip", ["netns", "add", space]);
    execFileSync("ip", ["-n", space, "link", "set", "lo", "up"]);
    const { folder } = bench.options;
    const image = await smallImage(join(folder, "images"), guest);
    const own = join(folder, "d");
    mkdirSync(own);
    const options = {
      ...{
        ...bench.options,
        folder: own,
        isolation: "vm-vtpm" as const,
        imagesFolder: join(folder, "images"),
      },
      ...{ tpmSetupProgram: "/usr/bin/swtpm_setup", lookMs: 200, shutdownMs: SLOW_MS, confidential: null },
      ...{ firmware: null, registriesInside: [], lacking: () => null },
    };
    const manifest = Buffer.from(manifestBytes(LAUNCH)).toString("base64");
    const payload = { kind: "launch" as const, image, manifest, registries: [] };
    input = { options, folder, range: "10.234.0.0/24", payload };
  });
  afterEach(async () => {
    for (const child of children) child.kill("SIGKILL");
    children.clear();
    const host = open();
    host.tell("reap");
    await host.until(({ reaped }) => reaped !== undefined);
    await host.kill();
    spawnSync("ip", ["netns", "del", space]);
    await bench.close();
  });

  const open = (more: object = {}) => {
    const words = ["--disable-warning=ExperimentalWarning", PROGRAM];
    const given = JSON.stringify({ ...input, options: { ...input.options, ...more } });
    const child = spawn("nsenter", [`--net=/run/netns/${space}`, process.execPath, ...words, given], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    children.add(child);
    const said: Said[] = [];
    createInterface({ input: child.stdout! }).on("line", (line) => said.push(JSON.parse(line) as Said));
    let read = 0;
    /** The first that it says from now on, or has said since the last. */
    const until = async (fits: (said: Said) => boolean): Promise<Said> => {
      const find = () => {
        while (read < said.length) if (fits(said[read++]!)) return said[read - 1]!;
        return null;
      };
      let found: Said | null = null;
      await expect
        .poll(
          () => {
            found ??= find();
            return found === null ? JSON.stringify([child.exitCode, ...said.slice(-3)]) : "said";
          },
          { timeout: SLOW_MS, interval: 2 },
        )
        .toBe("said");
      return found!;
    };
    return {
      until,
      report: async (fits: (report: Observation) => boolean) =>
        (await until(({ report }) => report !== undefined && fits(report))).report!,
      tell: (name: string, given: unknown = null) => child.stdin!.write(`${JSON.stringify([name, given])}\n`),
      wish: (want: Desired["want"]) => {
        const wish = {
          machineId: id,
          generation,
          incarnation,
          want,
          spec: SPEC,
          remainingMs: null,
          trigger: "api",
        };
        child.stdin!.write(`${JSON.stringify(["wish", wish])}\n`);
      },
      kill: async () => {
        children.delete(child);
        child.kill("SIGKILL");
        if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      },
    };
  };
  type Host = ReturnType<typeof open>;

  const programOf = (pid: number) => {
    try {
      return basename(readlinkSync(`/proc/${pid}/exe`));
    } catch {
      return "";
    }
  };
  const pidOf = (program: "qemu-system-x86_64" | "swtpm") =>
    bench.processes(id).find((pid) => programOf(pid) === program);
  const appears = (program: "qemu-system-x86_64" | "swtpm") =>
    expect.poll(() => pidOf(program), { timeout: SLOW_MS, interval: 2 }).toBeDefined();
  const place = () => join(input.options.folder, "vms", id);
  const ours = (uid: number) => {
    const { base, count } = bench.options.uids!;
    return uid >= base && uid < base + count;
  };
  /** Everything of it but what a halted machine keeps: its disk, what its TPM keeps, its notes. */
  const left = (): string[] => {
    const link = new Taps(bench.options.owner).linkOf(id);
    const network = ["nft list ruleset", "ip -o link", "iptables-save"].join("; ");
    const rules = spawnSync("nsenter", [`--net=/run/netns/${space}`, "sh", "-c", network], {
      encoding: "utf8",
    });
    const spaces = execFileSync("ip", ["netns", "list"], { encoding: "utf8" });
    const files = existsSync(place()) ? readdirSync(place(), { recursive: true }).map(String) : [];
    const pids = listPids().filter((pid) => {
      try {
        const { state, uids } = statusOf(pid);
        // One that ended and is not waited for yet, since who started it was killed, holds nothing any more.
        return state !== "Z" && uids.some(ours);
      } catch {
        return false;
      }
    });
    return [
      ...bench.processes(id).map((pid) => `process ${pid} ${programOf(pid)}`),
      ...pids.map((pid) => `process of a machine's uid ${pid} ${programOf(pid)}`),
      ...bench.traces(id).filter((path) => path.startsWith("/sys/fs/cgroup")),
      ...`${spaces}\n${rules.stdout}`.split("\n").filter((line) => line.includes(id) || line.includes(link)),
      ...files.filter((path) => !/^(state\.img|tpm|tpm\/[^/]*)$/.test(path)),
      ...files
        .filter((path) => ours(lstatSync(join(place(), path)).uid))
        .map((path) => `${path} is another's`),
    ];
  };

  const HOLD: Record<string, Go> = {
    certificate: { hold: "certificate", box: "plain" },
    secrets: { hold: "secrets", box: "plain" },
    payload: { hold: null, box: "slow" },
    none: { hold: null, box: "plain" },
    halting: { hold: null, box: "immortal" },
  };
  const says = (detail: string) => (host: Host) => host.report((report) => report.detail === detail);
  /** In order. How a start is brought there, and what of it can be killed. */
  const STAGES: [string, Go, (host: Host) => Promise<unknown>, ("swtpm" | "qemu-system-x86_64")[]][] = [
    ["its image is looked at", HOLD.none!, says("looking at the guest image"), []],
    ["its network is made", HOLD.none!, says("making the machine's network"), []],
    ["its TPM is made", HOLD.none!, says("starting the virtual machine"), []],
    ["its TPM is there", HOLD.none!, () => appears("swtpm"), ["swtpm"]],
    ["its QEMU is there", HOLD.none!, () => appears("qemu-system-x86_64"), ["swtpm", "qemu-system-x86_64"]],
    ["it boots", HOLD.none!, says("booting"), ["swtpm", "qemu-system-x86_64"]],
    [
      "it was claimed",
      HOLD.certificate!,
      (host) => host.until(({ claimed }) => claimed === true),
      ["swtpm", "qemu-system-x86_64"],
    ],
    [
      "it waits for its secrets",
      HOLD.secrets!,
      (host) => host.report((report) => report.wantsSecrets === true),
      ["swtpm", "qemu-system-x86_64"],
    ],
    ["what is in it comes up", HOLD.payload!, says("pulling"), ["swtpm", "qemu-system-x86_64"]],
  ];
  const isRunning = (host: Host) => host.report(({ state }) => state === "running");
  const asks = (host: Host) => host.report((report) => report.wantsPayload === true);

  test(
    "whose host is killed at any stage nothing is left, the next host says so, and goes on",
    async () => {
      let host = open();
      host.wish("up");
      await asks(host);
      for (const [stage, go, reached] of STAGES) {
        host.tell("go", go);
        await reached(host);
        await host.kill();
        host = open();
        await host.until(({ adopted }) => adopted === true);
        host.wish("up");
        expect(await asks(host), stage).toMatchObject({ state: "starting", idle: true });
        expect(left(), stage).toEqual([]);
      }

      host.tell("go", HOLD.halting);
      await isRunning(host);
      const [pid, tpm] = [pidOf("qemu-system-x86_64"), pidOf("swtpm")];
      await host.kill();
      host = open({ shutdownMs: 1_000 });
      host.wish("up");
      await isRunning(host);
      expect([pidOf("qemu-system-x86_64"), pidOf("swtpm")], "found again as it was").toEqual([pid, tpm]);
      await host.kill();

      host = open();
      generation += 1;
      host.wish("halted");
      const log = join(input.options.folder, "machines", `${id}.log`);
      await expect.poll(() => readFileSync(log, "utf8"), { timeout: SLOW_MS }).toMatch(/asked to shut down/);
      await host.kill();
      expect(pidOf("qemu-system-x86_64")).toBe(pid);
      host = open({ shutdownMs: 1_000 });
      host.wish("halted");
      expect(await host.report(({ state }) => state === "halted")).not.toHaveProperty("code");
      expect(left(), "halting").toEqual([]);

      [generation, incarnation] = [generation + 1, incarnation + 1];
      host.wish("up");
      host.tell("go", HOLD.none);
      await isRunning(host);
      generation += 1;
      host.wish("down");
      await expect.poll(() => pidOf("qemu-system-x86_64"), { timeout: SLOW_MS, interval: 2 }).toBeUndefined();
      await host.kill();
      host = open();
      host.wish("down");
      await host.report(({ state }) => state === "ended");
      expect([...left(), ...bench.traces(id)], "removing").toEqual([]);
      await host.kill();
    },
    TEST_MS,
  );

  test.each<"swtpm" | "qemu-system-x86_64">(["qemu-system-x86_64", "swtpm"])(
    "whose %s is killed at any stage nothing is left, and its host says that it does not run",
    async (victim) => {
      let host = open();
      for (const [stage, go, reached] of STAGES.filter(([, , , victims]) => victims.includes(victim))) {
        host.wish("up");
        await asks(host);
        host.tell("go", go);
        await reached(host);
        await appears(victim);
        process.kill(pidOf(victim)!, "SIGKILL");
        const said = await host.report(
          ({ state, incarnation: of }) => state === "halted" && of === incarnation,
        );
        expect(said, stage).toMatchObject({
          code: "machine.start-failed",
          // And not that some port of it was closed.
          detail: expect.stringMatching(victim === "swtpm" ? /TPM|tpm/ : /QEMU/),
        });
        expect(left(), stage).toEqual([]);
        [generation, incarnation] = [generation + 1, incarnation + 1];
        // One that holds does so for ever, and gives nothing of itself before it is told to.
        await host.kill();
        host = open();
        await host.until(({ adopted }) => adopted === true);
      }

      host.wish("up");
      host.tell("go", HOLD.none);
      await isRunning(host);
      process.kill(pidOf(victim)!, "SIGKILL");
      const why = victim === "swtpm" ? /its TPM has ended/ : /its QEMU was ended/;
      const said = await host.report(({ state }) => state === "starting");
      expect(said).toMatchObject({ restarted: true, detail: expect.stringMatching(why) });
      await host.kill();
      host = open();
      host.wish("up");
      await asks(host);
      expect(left(), "running").toEqual([]);

      host.tell("go", HOLD.halting);
      await isRunning(host);
      generation += 1;
      host.wish("halted");
      const log = join(input.options.folder, "machines", `${id}.log`);
      await expect.poll(() => readFileSync(log, "utf8"), { timeout: SLOW_MS }).toMatch(/asked to shut down/);
      process.kill(pidOf(victim)!, "SIGKILL");
      await host.report(({ state }) => state === "halted");
      expect(left(), "halting").toEqual([]);
      await host.kill();
    },
    TEST_MS,
  );
});

/** An image by its metadata, whose kernel and initramfs are the small guest's. @returns The hash of its metadata. */
async function smallImage(folder: string, guest: SmallGuest): Promise<string> {
  const { metadata, folder: specimen } = await writeSpecimenImage(folder, "1.0.0", "small");
  const files = { ...metadata.files };
  for (const name of ["kernel", "initrd"] as const) {
    copyFileSync(guest[name], join(specimen, name));
    files[name] = { ...files[name], sha256: hash("sha256", readFileSync(guest[name])) };
  }
  const boot = { ...metadata.boot, commandLine: "console=ttyS0 quiet panic=-1" };
  const text = metadataText({ ...metadata, files, boot });
  writeFileSync(join(specimen, METADATA_FILE), text);
  makeCurrent(folderOf(folder, metadata.name, metadata.inputs.sha256));
  return metadataSha256(text);
}

/** DER in base64, of a key that nobody keeps. */
async function requestOf(domain: string): Promise<string> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const extensions = [new x509.SubjectAlternativeNameExtension([{ type: "dns", value: domain }])];
  const made = await x509.Pkcs10CertificateRequestGenerator.create(
    { keys, signingAlgorithm: algorithm, extensions },
    webcrypto,
  );
  return Buffer.from(made.rawData).toString("base64");
}
