// SPDX-License-Identifier: Apache-2.0
/**
 * The command line of one virtual machine, as a list of words and from its description alone.
 *
 *  A. Nothing is there that is not named: no default device, no configuration file of the host's.
 *  B. It starts halted. Who started it looks at it over the control socket, connects to the console and the
 *     guest's port, and only then lets it run: nothing that the guest says is lost, and what is found halted
 *     after a kill has run nothing.
 *  C. Everybody on the host can read these words, so none is a secret; secrets reach a guest over its port.
 *  D. Paths are ours and never a client's. In QEMU's older syntax a comma ends a value, so it is doubled there.
 */
import { OBJECT_ID, snpObject, tdxObject } from "./confidential.ts";
import type { ConfidentialVm, Disk, Network, PlainVm, Port, Vm } from "./vm.ts";

/** Translated code, which QEMU would otherwise let grow to a share of the host's memory. */
export const TCG_BUFFER_MIB = 256;

/** It starts no program, changes no user and needs no old call: who breaks out into it finds less. */
export const SECCOMP = [
  "-sandbox",
  "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
];

export function commandLine(vm: Vm): string[] {
  // A virtio device behind an IOMMU asks for shared memory by itself; in the older mode it would write to private pages.
  const virtio = vm.kind === "confidential" ? { "disable-legacy": "on", iommu_platform: true } : {};
  return [
    ...[
      "-name",
      legacy(vm.machineId),
      "-S",
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-no-reboot",
    ],
    ...(vm.kind === "plain" ? plain(vm) : confidential(vm)),
    ...["-smp", String(vm.cpus)],
    ...["-kernel", vm.boot.kernel],
    ...(vm.boot.initrd === null ? [] : ["-initrd", vm.boot.initrd]),
    ...["-append", vm.boot.line],
    ...vm.disks.flatMap((disk, index) => diskWords(disk, index, virtio)),
    ...["-device", json({ driver: "virtio-serial-pci", id: "ports", ...virtio })],
    ...vm.ports.flatMap(portWords),
    ...["-device", json({ driver: "virtio-rng-pci", ...virtio })],
    ...networkWords(vm.network, virtio),
    ...["-chardev", `socket,id=console,path=${legacy(vm.consoleSocket)},server=on,wait=off`],
    ...["-serial", "chardev:console"],
    ...["-qmp", `unix:${legacy(vm.qmpSocket)},server=on,wait=off`],
    ...(vm.seccomp ? SECCOMP : []),
  ];
}

function plain(vm: PlainVm): string[] {
  const pflash = vm.firmware === null ? [] : ["pflash0=firmware", "pflash1=variables"];
  return [
    ...["-machine", ["q35", "smm=off", "vmport=off", ...pflash].join(",")],
    ...(vm.accelerator === "kvm"
      ? ["-accel", "kvm", "-cpu", "host"]
      : ["-accel", `tcg,thread=${threadsFor(vm.cpus)},tb-size=${TCG_BUFFER_MIB}`, "-cpu", "max"]),
    ...["-m", `size=${vm.memoryMiB}M`],
    ...(vm.firmware === null
      ? []
      : [
          ...["-blockdev", json(rawFile("firmware", vm.firmware.code, true))],
          ...["-blockdev", json(rawFile("variables", vm.firmware.variables, false))],
        ]),
    ...(vm.tpmSocket === null
      ? []
      : [
          ...["-chardev", `socket,id=tpm,path=${legacy(vm.tpmSocket)}`],
          ...["-tpmdev", "emulator,id=tpm0,chardev=tpm"],
          ...["-device", json({ driver: "tpm-crb", tpmdev: "tpm0" })],
        ]),
  ];
}

/**
 * With a thread for each emulated processor, a kernel that patches its own code while another of its processors runs it ends, or
 * stands still for ever (QEMU 7.2: seven of eight guests of two that did it for ten seconds; in one thread none of six).
 */
const threadsFor = (cpus: number) => (cpus > 1 ? "single" : "multi");

function confidential(vm: ConfidentialVm): string[] {
  const parts = ["q35", "smm=off", "vmport=off", `confidential-guest-support=${OBJECT_ID}`];
  const memory = { "qom-type": "memory-backend-memfd", id: "ram", size: vm.memoryMiB * 2 ** 20, share: true };
  return [
    ...["-machine", [...parts, "memory-backend=ram"].join(",")],
    ...["-accel", "kvm", "-cpu", legacy(vm.cpuModel)],
    ...["-m", `size=${vm.memoryMiB}M`],
    ...["-object", json({ ...memory, reserve: false })],
    ...["-object", json(vm.guest.kind === "snp" ? snpObject(vm.guest) : tdxObject(vm.guest))],
    ...["-bios", vm.firmware],
  ];
}

function diskWords({ path, readOnly, serial }: Disk, index: number, virtio: object): string[] {
  const node = `disk${index}`;
  // What the guest gives up is given back to the host's disk.
  const block = { ...rawFile(node, path, readOnly), ...(readOnly ? {} : { discard: "unmap" }) };
  return [
    ...["-blockdev", json(block)],
    ...["-device", json({ driver: "virtio-blk-pci", drive: node, serial, ...virtio })],
  ];
}

const rawFile = (node: string, path: string, readOnly: boolean) => ({
  driver: "raw",
  "node-name": node,
  "read-only": readOnly,
  file: { driver: "file", filename: path },
});

function portWords({ name, socketPath }: Port, index: number): string[] {
  const id = `port${index}`;
  return [
    ...["-chardev", `socket,id=${id},path=${legacy(socketPath)},server=on,wait=off`],
    ...["-device", json({ driver: "virtserialport", bus: "ports.0", chardev: id, name })],
  ];
}

function networkWords(network: Network, virtio: object): string[] {
  if (network.kind === "none") return [];
  const device = { driver: "virtio-net-pci", netdev: "net0", ...virtio };
  // Without: a boot program of the card's own, which is measured and of no use.
  const romless = { ...device, romfile: "" };
  if (network.kind === "tap")
    return [
      ...["-netdev", `tap,id=net0,fd=${network.descriptor}`],
      ...["-device", json({ ...romless, mac: network.mac })],
    ];
  const forwards = network.forwards.map(
    ({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`,
  );
  return [...["-netdev", `user,id=net0,restrict=on${forwards.join("")}`], ...["-device", json(romless)]];
}

const json = (value: object) => JSON.stringify(value);

/** D */
const legacy = (value: string) => value.replaceAll(",", ",,");
