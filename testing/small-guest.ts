// SPDX-License-Identifier: Apache-2.0
/**
 * A guest for tests: this computer's kernel and an initramfs of busybox and a few modules, which speaks the
 * guests' protocol (docs/guest-protocol.md) in shell, runs a web server that executes what it is sent, and
 * is told by words on the kernel's line to misbehave.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { ASK } from "#drivers/conformance/kept-machine.ts";
import { findKernel } from "#drivers/qemu/trial.ts";
import { PORT_NAME } from "#guest/protocol.ts";
import type { Requirement } from "./requirements.ts";

const BUSYBOX = "/bin/busybox";
/** In the order in which they can be loaded; the console's is the guest's port. */
const MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "button", "evdev"];

const kernel = findKernel("");
const modulesOf = (path: string): string[] => {
  const version = basename(path).replace("vmlinuz-", "");
  const lines = MODULES.flatMap((name) =>
    String(spawnSync("modprobe", ["-S", version, "--show-depends", name]).stdout).split("\n"),
  );
  return [...new Set(lines.flatMap((line) => /^insmod (\S+\.ko)\s*$/.exec(line)?.[1] ?? []))];
};

export const smallGuest: Requirement = {
  met: kernel !== null && existsSync(BUSYBOX) && modulesOf(kernel).length >= MODULES.length,
  reason:
    "needs busybox and a Debian kernel with its modules (apt-get install busybox-static linux-image-cloud-amd64)",
};

/** Words for the kernel's line. */
export type Misbehaviour =
  /** The agent never answers. */
  | "deaf"
  /** It refuses to shut down; the power button still works. */
  | "stubborn"
  /** It refuses, and has no power button. */
  | "immortal";

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
is() { grep -qw "$1" /proc/cmdline; }
ip link set lo up; ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
httpd -h /www
for each in /sys/class/input/event*; do
  [ "$(cat $each/device/name)" = "Power Button" ] && button=/dev/input/$(basename $each)
done
is immortal || { dd if=$button bs=24 count=1 >/dev/null 2>&1; sync; poweroff -f; } &
button_reader=$!
echo small guest is up
is deaf && while :; do sleep 1000; done
for each in /sys/class/virtio-ports/*; do
  [ "$(cat $each/name)" = ${PORT_NAME} ] && port=/dev/$(basename $each)
done
exec 3<>$port
while :; do
  read -r line <&3 || { sleep 0.05; continue; }
  id=\${line#*\\"id\\":}; id=\${id%%,*}
  case $line in
    *'"hello"'*)
      session=\${line##*\\"session\\":\\"}; session=\${session%%\\"*}
      printf '\\n{"welcome":{"session":"%s","protocol":1,"agent":"small","bootId":"1","claimed":false}}\\n' $session >&3;;
    *'"op":"shutdown"'*)
      if [ "$box" = immortal ]; then printf '{"id":%s,"error":{"code":"failed","message":"no"}}\\n' $id >&3
      elif is stubborn || is immortal; then printf '{"id":%s,"error":{"code":"failed","message":"no"}}\\n' $id >&3
      else printf '{"id":%s,"ok":{}}\\n' $id >&3; sync; poweroff -f; fi;;
    *'"op":"claim"'*)
      case $line in *'"address"'*)
        address=\${line##*\\"address\\":\\"}; gateway=\${line##*\\"gateway\\":\\"}
        ip addr flush dev eth0; ip addr add \${address%%\\"*} dev eth0; ip route add default via \${gateway%%\\"*};;
      esac
      claim=\${line##*\\"claimId\\":\\"}
      printf '{"id":%s,"ok":{"claimId":"%s","keys":{"sealing":"","tls":"","request":"%s"}}}\\n' $id "\${claim%%\\"*}" "$(cat /request)" >&3;;
    *'"op":"payload"'*)
      box=\${line##*\\"bytes\\":\\"}; box=$(echo "\${box%%\\"*}" | base64 -d)
      [ "$box" = immortal ] && kill $button_reader
      printf '{"id":%s,"ok":{}}\\n' $id >&3;;
    *'"op":"status"'*)
      phase=running; public=true
      [ -z "$box" ] && phase=idle && public=false
      [ "$box" = slow ] && phase=pulling && public=false
      printf '{"id":%s,"ok":{"phase":"%s","detail":"","public":%s,"images":[]}}\\n' $id $phase $public >&3;;
    *'"op":'*) printf '{"id":%s,"ok":{"uptimeMs":1}}\\n' $id >&3;;
  esac
done
`;

export interface SmallGuest extends Disposable {
  kernel: string;
  initrd: string;
}

/**
 * Files that every uid can read.
 * @param request What it wants certified (DER in base64); empty for nothing. What it is handed as a box is a word: `slow` to be pulling for
 * ever, `immortal` to hear no wish to shut down.
 */
export function makeSmallGuest(request = ""): SmallGuest {
  const folder = mkdtempSync(join(tmpdir(), "casemate-guest-"));
  chmodSync(folder, 0o755);
  const tree = join(folder, "tree");
  for (const each of ["bin", "proc", "sys", "dev", "modules", "www/cgi-bin"])
    mkdirSync(join(tree, each), { recursive: true });
  copyFileSync(BUSYBOX, join(tree, "bin/busybox"));
  symlinkSync("busybox", join(tree, "bin/sh"));
  const modules = modulesOf(kernel!);
  for (const module of modules) copyFileSync(module, join(tree, "modules", basename(module)));
  writeFileSync(join(tree, "modules/order"), modules.map((path) => basename(path)).join("\n"));
  for (const [path, text] of [
    ["init", INIT],
    ["request", request],
    ["www/cgi-bin/ask", ASK],
  ] as const)
    writeFileSync(join(tree, path), text, { mode: 0o755 });
  const initrd = join(folder, "initrd");
  execFileSync("sh", ["-c", 'find . | busybox cpio -o -H newc > "$0"', initrd], {
    cwd: tree,
    stdio: ["ignore", "ignore", "ignore"],
  });
  copyFileSync(kernel!, join(folder, "kernel"));
  rmSync(tree, { recursive: true });
  return {
    kernel: join(folder, "kernel"),
    initrd,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
