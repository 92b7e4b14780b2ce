// SPDX-License-Identifier: Apache-2.0
/**
 * What virtual machines, and confidential ones above all, need of a computer. A file or a device that is
 * there is a necessary sign and no proof: a KVM that opens may still not boot anything, so a kernel is booted;
 * and hardware that is switched on protects nobody until its evidence was verified elsewhere. The lines say so.
 */
import { closeSync, constants, existsSync, openSync } from "node:fs";
import { type Found, findSnp, findTdx } from "#drivers/qemu/host-hardware.ts";
import { findKernel, hasSeccomp, tryAccelerator } from "#drivers/qemu/trial.ts";
import { apt, type Check, type Finding, type Here, missing, ok, warning } from "./check.ts";
import { guestImages } from "./guest-images.ts";
import { findOnPath, runProgram } from "./program.ts";

const QEMU: Record<string, [program: string, pack: string]> = {
  x64: ["qemu-system-x86_64", "qemu-system-x86"],
  arm64: ["qemu-system-aarch64", "qemu-system-arm"],
};

/** A KVM that boots does it in a fraction of this; an emulated processor on a busy computer in most of it. */
const TRIAL_MS = { kvm: 10_000, emulation: 40_000 };

const kvm: Check = {
  id: "kvm",
  group: "virtual machines",
  name: "KVM",
  needed: [],
  timeoutMs: TRIAL_MS.kvm,
  look: async (here, signal) => {
    try {
      closeSync(openSync(`${here.root}/dev/kvm`, constants.O_RDWR));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EACCES")
        return missing("/dev/kvm is there and not ours to open", `sudo usermod -aG kvm $USER`);
      return missing(
        `no /dev/kvm (${code}): virtualisation is off in the firmware, or not handed to this machine`,
      );
    }
    return bootWith(here, "kvm", signal);
  },
};

const emulation: Check = {
  id: "emulation",
  group: "virtual machines",
  name: "emulation",
  needed: [],
  timeoutMs: TRIAL_MS.emulation,
  look: (here, signal) => bootWith(here, "tcg", signal),
};

async function bootWith(here: Here, accelerator: "kvm" | "tcg", signal: AbortSignal): Promise<Finding> {
  const name = accelerator === "kvm" ? "/dev/kvm opens" : "QEMU's own emulation";
  if (here.arch !== "x64")
    return warning(`${name}; not tried: our virtual machines are x86-64, and this is not`);
  const program = findOnPath(here, QEMU.x64![0]);
  if (program === null) return warning(`${name}; not tried: there is no QEMU`);
  const kernel = findKernel(here.root);
  if (kernel === null)
    return warning(
      `${name}; not tried: no kernel in /boot that we can read`,
      apt(here, "linux-image-cloud-amd64"),
    );
  const seccomp = await hasSeccomp(program);
  const { temporary } = here;
  const trial = await tryAccelerator({ program, accelerator, kernel, seccomp, temporary, signal });
  if (!trial.boots) return missing(`${name}, but a kernel does not boot with it: ${trial.why}`);
  const weaker = seccomp ? "" : "; this QEMU has no system call filter";
  return ok(`${name}, and a kernel booted with it in ${(trial.tookMs / 1000).toFixed(1)} s${weaker}`);
}

const qemu: Check = {
  id: "qemu",
  group: "virtual machines",
  name: "QEMU",
  needed: [],
  timeoutMs: 5_000,
  look: async (here, signal) => {
    const [name, pack] = QEMU[here.arch] ?? QEMU.x64!;
    return versionOf(here, name, apt(here, pack), signal);
  },
};

const swtpm: Check = {
  id: "swtpm",
  group: "virtual machines",
  name: "swtpm",
  needed: [],
  timeoutMs: 5_000,
  look: (here, signal) => versionOf(here, "swtpm", apt(here, "swtpm"), signal),
};

const FIRMWARE = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];

const measuredBoot: Check = {
  id: "measured-boot",
  group: "virtual machines",
  name: "measured boot",
  needed: [],
  timeoutMs: 1_000,
  look: async (here) => {
    if (FIRMWARE.some((path) => !existsSync(here.root + path)))
      return missing(`no firmware at ${FIRMWARE[0]}`, apt(here, "ovmf"));
    if (findOnPath(here, "swtpm_setup") === null)
      return missing(
        "no swtpm_setup on PATH: nobody would vouch for a machine's TPM",
        apt(here, "swtpm-tools"),
      );
    return ok(
      "firmware, and what makes TPMs with certificates; evidence of them convinces who trusts this host",
    );
  },
};

const vmNetworks: Check = {
  id: "vm-networks",
  group: "virtual machines",
  name: "networks of machines",
  needed: [],
  timeoutMs: 1_000,
  look: async (here) => {
    for (const [program, pack] of [
      ["ip", "iproute2"],
      ["nft", "nftables"],
    ] as const)
      if (findOnPath(here, program) === null)
        return missing(`no ${program} on PATH: machines would reach nothing outside`, apt(here, pack));
    return existsSync(`${here.root}/dev/net/tun`)
      ? ok("ip, nft and /dev/net/tun; as root each machine has a network of its own")
      : missing("no /dev/net/tun: machines would reach nothing outside", "modprobe tun");
  },
};

async function versionOf(
  here: Parameters<typeof findOnPath>[0],
  name: string,
  get: string,
  signal: AbortSignal,
): Promise<Finding> {
  const path = findOnPath(here, name);
  if (path === null) return missing(`no ${name} on PATH`, get);
  const { code, stdout, stderr } = await runProgram(here, [path, "--version"], signal);
  return code === 0
    ? ok(stdout.trim().split("\n")[0]!)
    : missing(`${name} does not run: ${stderr.trim()}`, get);
}

const snpHost: Check = {
  id: "sev-snp",
  group: "confidential hardware",
  name: "AMD SEV-SNP",
  needed: ["hardware"],
  timeoutMs: 1_000,
  look: async (here) => {
    const found = findSnp(here.root);
    if (!found.there || found.numbers !== null) return told(found);
    return warning(`${found.says}, but where its C-bit is cannot be read`, "modprobe cpuid");
  },
};

const tdxHost: Check = {
  id: "tdx",
  group: "confidential hardware",
  name: "Intel TDX",
  needed: ["hardware"],
  timeoutMs: 1_000,
  look: async (here) => told(findTdx(here.root)),
};

const told = (found: Found<object>): Finding =>
  found.there
    ? ok(`${found.says}; only verified evidence of a guest shows that it protects`)
    : missing(found.why);

const guest: Check = {
  id: "confidential-guest",
  group: "confidential hardware",
  name: "inside a confidential VM",
  needed: [],
  timeoutMs: 1_000,
  look: async (here) => {
    const devices = ["/dev/tdx_guest", "/dev/sev-guest"].filter((path) => existsSync(here.root + path));
    return devices.length > 0
      ? ok(`yes: ${devices.join(", ")}`)
      : missing("no /dev/tdx_guest, no /dev/sev-guest");
  },
};

export const VIRTUAL_MACHINES: readonly Check[] = [
  ...[kvm, emulation, qemu, swtpm, measuredBoot, vmNetworks, guestImages],
  ...[snpHost, tdxHost, guest],
];
