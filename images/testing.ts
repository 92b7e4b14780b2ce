// SPDX-License-Identifier: Apache-2.0
/**
 * Starts an image once, for tests of it: bare QEMU, no driver. What a machine's life needs beyond that is drivers/qemu's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connectSoon } from "#drivers/qemu/sockets.ts";
import { type Guest, greetGuest } from "#guest/client.ts";
import { PORT_NAME } from "#guest/protocol.ts";

export interface BootOptions {
  /** A folder of this start alone. */
  work: string;
  /** The machine monitor's loader takes the two, or firmware takes the one file of both and measures into a virtual TPM. */
  start:
    | { kernel: string; initrd: string }
    | { firmware: string; variables: string; image: string; tpm: string };
  disk: string;
  commandLine: string;
  /** Of this machine's loopback, that lead to the guest's ports 22 and 443. */
  sshPort?: number;
  httpsPort?: number;
  /** Beside the root, and written to. */
  disks?: readonly { path: string; serial: string }[];
  memoryMiB?: number;
  /** The guest's gateway is this machine's loopback; otherwise nothing goes out of it. */
  outward?: boolean;
  /** What an operator adds to QEMU's command line. */
  words?: readonly string[];
}

export interface BootedOnce {
  process: ChildProcess;
  /** What the guest's kernel and agent said. */
  console(): string;
  /** Waits for the agent. */
  guest(timeoutMs: number): Promise<Guest>;
  ended: Promise<number | null>;
  stop(): Promise<void>;
}

export function bootOnce(options: BootOptions): BootedOnce {
  const { work, start, disk, commandLine, sshPort, httpsPort } = options;
  const { disks = [], memoryMiB = 512, outward = false, words = [] } = options;
  const [log, port] = [join(work, "console.log"), join(work, "port.sock")];
  const doors = [
    ...(sshPort === undefined ? [] : [`,hostfwd=tcp:127.0.0.1:${sshPort}-:22`]),
    ...(httpsPort === undefined ? [] : [`,hostfwd=tcp:127.0.0.1:${httpsPort}-:443`]),
  ];
  const args = [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "tcg,thread=multi"],
    ...["-cpu", "max", "-m", String(memoryMiB), "-smp", "1", "-M", "q35,smm=off", ...startWith(start)],
    ...["-append", commandLine, "-chardev", `file,id=con,path=${log}`, "-serial", "chardev:con"],
    ...[
      "-drive",
      `id=root,file=${disk},format=raw,if=none,readonly=on`,
      "-device",
      "virtio-blk-pci,drive=root",
    ],
    ...disks.flatMap(({ path, serial }) => [
      ...["-drive", `id=${serial},file=${path},format=raw,if=none`],
      ...["-device", `virtio-blk-pci,drive=${serial},serial=${serial}`],
    ]),
    ...["-netdev", `user,id=n0,restrict=${outward ? "off" : "on"}${doors.join("")}`],
    ...["-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci"],
    ...["-device", "virtio-serial-pci", "-chardev", `socket,id=g,path=${port},server=on,wait=off`],
    ...["-device", `virtserialport,chardev=g,name=${PORT_NAME}`],
    ...words,
  ];
  const child = spawn("nice", ["qemu-system-x86_64", ...args], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr!.on("data", (text) => {
    said += text;
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const over = new AbortController();
  void ended.then(() => over.abort(new Error(`QEMU ended: ${consoleText()}`)));
  const consoleText = () => (existsSync(log) ? readFileSync(log, "latin1") : "") + said;
  return {
    process: child,
    console: consoleText,
    ended,
    guest: async (timeoutMs) => {
      const end = Date.now() + timeoutMs;
      const socket = await connectSoon(port, AbortSignal.any([AbortSignal.timeout(timeoutMs), over.signal]));
      return greetGuest(socket, { timeoutMs: Math.max(1, end - Date.now()) }).catch((cause) => {
        throw new Error(`the guest is not up: ${consoleText()}`, { cause });
      });
    },
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

function startWith(start: BootOptions["start"]): string[] {
  if ("kernel" in start) return ["-kernel", start.kernel, "-initrd", start.initrd];
  return [
    ...["-drive", `if=pflash,format=raw,unit=0,readonly=on,file=${start.firmware}`, "-kernel", start.image],
    ...["-drive", `if=pflash,format=raw,unit=1,file=${start.variables}`],
    ...["-chardev", `socket,id=tpm,path=${start.tpm}`, "-tpmdev", "emulator,id=t,chardev=tpm"],
    ...["-device", "tpm-crb,tpmdev=t"],
  ];
}
