// SPDX-License-Identifier: Apache-2.0
/** The words themselves, and that a QEMU takes them. Those of confidential guests are data here and are never run. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { PROPERTIES, type SnpGuest, snpObject, type TdxGuest, tdxObject } from "./confidential.ts";
import { commandLine } from "./launch.ts";
import { Qmp } from "./qmp.ts";
import { connectSoon } from "./sockets.ts";
import { kernel, knowsObject, openQemu, qemu } from "./testing.ts";
import { findKernel, hasSeccomp } from "./trial.ts";
import type { ConfidentialVm, PlainVm } from "./vm.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-launch,"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const parts = () => ({
  machineId: `mach_${"0".repeat(32)}`,
  cpus: 2,
  memoryMiB: 128,
  boot: { kernel: findKernel("") ?? "/none", initrd: null, line: "console=ttyS0 roothash=ab,cd" },
  disks: [
    { path: join(folder, "root"), readOnly: true, serial: "root" },
    { path: join(folder, "state"), readOnly: false, serial: "state" },
  ],
  ports: [{ name: "casemate.guest", socketPath: join(folder, "guest") }],
  network: { kind: "user" as const, forwards: [{ hostPort: 0, guestPort: 22 }] },
  consoleSocket: join(folder, "console"),
  qmpSocket: join(folder, "qmp"),
  seccomp: true,
});
const plainVm = (given: Partial<PlainVm> = {}): PlainVm => ({
  ...parts(),
  ...{ kind: "plain", accelerator: "tcg", firmware: null, tpmSocket: null },
  ...given,
});
const confidentialVm = (guest: SnpGuest | TdxGuest): ConfidentialVm => ({
  ...parts(),
  ...{ kind: "confidential", guest, firmware: "/firmware", cpuModel: "EPYC-v4" },
});
/** What follows each occurrence of a word. */
const following = (words: readonly string[], name: string) =>
  words.flatMap((word, index) => (word === name ? [words[index + 1]!] : []));

const MANIFEST = Buffer.from("11".repeat(32), "hex");
const SNP: SnpGuest = { kind: "snp", cBitPosition: 51, reducedPhysBits: 1, manifestSha256: MANIFEST };
const TDX: TdxGuest = { kind: "tdx", manifestSha256: MANIFEST, quotePort: 4050 };

describeWith([qemu, kernel], "a QEMU given the words of a machine", () => {
  it("takes every one of them, also in a folder with a comma, and stands halted", async () => {
    for (const name of ["root", "state"]) writeFileSync(join(folder, name), Buffer.alloc(1024 * 1024));
    const seccomp = await hasSeccomp("/usr/bin/qemu-system-x86_64");
    const vm = plainVm({ seccomp });
    const running = openQemu(commandLine(vm));
    try {
      const connected = await Qmp.greet(await connectSoon(vm.qmpSocket, AbortSignal.timeout(20_000)));
      expect(connected).toMatchObject({ ok: true });
      if (!connected.ok) return;
      const qmp = connected.value;
      expect(await qmp.execute("query-name")).toEqual({ ok: true, value: { name: vm.machineId } });
      expect(await qmp.execute("query-status")).toMatchObject({ ok: true, value: { status: "prelaunch" } });
      for (const socket of ["guest", "console"]) expect(statSync(join(folder, socket)).isSocket()).toBe(true);
      qmp.close();
    } finally {
      await running.close();
    }
  });
});

describe("a machine's words", () => {
  it("name nothing that the host's own files could add to", () => {
    for (const vm of [plainVm(), confidentialVm(SNP)])
      expect(commandLine(vm)).toEqual(expect.arrayContaining(["-nodefaults", "-no-user-config", "-S"]));
  });

  it("keep a guest from the host's loopback, whatever comes in", () => {
    const [user] = following(commandLine(plainVm()), "-netdev");
    expect(user).toBe("user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22");
    expect(following(commandLine(plainVm({ network: { kind: "user", forwards: [] } })), "-netdev")).toEqual([
      "user,id=net0,restrict=on",
    ]);
    expect(following(commandLine(plainVm({ network: { kind: "none" } })), "-netdev")).toEqual([]);
  });

  it("give the root read-only, twice over, and no disk a boot program of its card", () => {
    const words = commandLine(plainVm({ network: { kind: "tap", descriptor: 3, mac: "52:54:00:00:00:01" } }));
    const [root, state] = following(words, "-blockdev").map((word) => JSON.parse(word));
    expect([root["read-only"], state["read-only"]]).toEqual([true, false]);
    const devices = following(words, "-device").map((word) => JSON.parse(word));
    expect(devices.find(({ driver }) => driver === "virtio-net-pci")).toMatchObject({ romfile: "" });
    expect(following(words, "-netdev")).toEqual(["tap,id=net0,fd=3"]);
  });

  it("deny QEMU other programs, other users and old calls", () => {
    expect(following(commandLine(plainVm()), "-sandbox")).toEqual([
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]);
    expect(following(commandLine(plainVm({ seccomp: false })), "-sandbox")).toEqual([]);
  });

  it("use KVM only when they are told to, and bound what emulation keeps", () => {
    expect(following(commandLine(plainVm({ cpus: 1 })), "-accel")).toEqual(["tcg,thread=multi,tb-size=256"]);
    expect(following(commandLine(plainVm({ cpus: 2 })), "-accel")).toEqual(["tcg,thread=single,tb-size=256"]);
    expect(following(commandLine(plainVm({ accelerator: "kvm" })), "-accel")).toEqual(["kvm"]);
    expect(following(commandLine(confidentialVm(SNP)), "-accel")).toEqual(["kvm"]);
  });

  it("give the kernel's line whole, as one word", () => {
    expect(following(commandLine(plainVm()), "-append")).toEqual(["console=ttyS0 roothash=ab,cd"]);
  });

  it("connect a TPM and measured firmware where there are some", () => {
    const firmware = { code: "/code.fd", variables: "/variables.fd" };
    const words = commandLine(plainVm({ firmware, tpmSocket: "/tpm,1" }));
    expect(following(words, "-machine")).toEqual([
      "q35,smm=off,vmport=off,pflash0=firmware,pflash1=variables",
    ]);
    expect(following(words, "-chardev")).toContain("socket,id=tpm,path=/tpm,,1");
    const [code, variables] = following(words, "-blockdev").map((word) => JSON.parse(word));
    expect([code["read-only"], variables["read-only"]]).toEqual([true, false]);
  });
});

describe("a confidential guest's words", () => {
  const objectOf = (words: readonly string[], type: string) =>
    following(words, "-object")
      .map((word) => JSON.parse(word))
      .find((each) => each["qom-type"] === type);

  it("of SNP: kernel hashes, a policy without debugging and migration, and the manifest's hash", () => {
    const words = commandLine(confidentialVm(SNP));
    expect(objectOf(words, "sev-snp-guest")).toEqual({
      "qom-type": "sev-snp-guest",
      id: "confidential0",
      cbitpos: 51,
      "reduced-phys-bits": 1,
      "kernel-hashes": true,
      policy: 0x30000,
      "host-data": MANIFEST.toString("base64"),
    });
    expect(following(words, "-machine")).toEqual([
      "q35,smm=off,vmport=off,confidential-guest-support=confidential0,memory-backend=ram",
    ]);
    expect(following(words, "-bios")).toEqual(["/firmware"]);
    expect(following(words, "-cpu")).toEqual(["EPYC-v4"]);
  });

  it("of TDX: the manifest's hash in 48 bytes, a quoting service, and attributes left at none", () => {
    const object = objectOf(commandLine(confidentialVm(TDX)), "tdx-guest");
    expect(Buffer.from(object.mrconfigid, "base64")).toEqual(Buffer.concat([MANIFEST, Buffer.alloc(16)]));
    expect(object).toMatchObject({
      "sept-ve-disable": true,
      "quote-generation-socket": { type: "vsock", cid: "2", port: "4050" },
    });
    expect(object).not.toHaveProperty("attributes");
  });

  it("have every virtio device ask for shared memory, and none in the older mode", () => {
    const devices = following(commandLine(confidentialVm(SNP)), "-device").map((word) => JSON.parse(word));
    const virtio = devices.filter(({ driver }) => driver.startsWith("virtio-"));
    expect(virtio.length).toBeGreaterThan(4);
    for (const device of virtio)
      expect(device).toMatchObject({ "disable-legacy": "on", iommu_platform: true });
  });

  it("bear only names that a QEMU was seen to take", () => {
    for (const object of [snpObject(SNP), tdxObject(TDX)]) {
      const { "qom-type": type, id: _, ...given } = object;
      expect(Object.keys(given).sort()).toEqual(Object.keys(PROPERTIES[type]).sort());
    }
  });

  it("refuse a manifest's hash of another length", () => {
    for (const bytes of [0, 31, 33, 48]) {
      const manifestSha256 = Buffer.alloc(bytes);
      expect(() => snpObject({ ...SNP, manifestSha256 })).toThrow(RangeError);
      expect(() => tdxObject({ ...TDX, manifestSha256 })).toThrow(RangeError);
    }
  });
});

describeWith([knowsObject("sev-snp-guest")], "a QEMU that knows SNP", () => {
  it("makes the object that we write, and refuses a name that it does not know", async () => {
    const made = openQemu(["-machine", "none", "-object", JSON.stringify(snpObject(SNP))]);
    (await made.connect()).destroy();
    await made.close();
    const wrong = JSON.stringify({ ...snpObject(SNP), "host-datum": "" });
    const refused = openQemu(["-machine", "none", "-object", wrong]);
    await expect(refused.connect()).rejects.toThrow(/QEMU ended/);
    await refused.close();
  });
});
