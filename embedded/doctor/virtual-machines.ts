// SPDX-License-Identifier: Apache-2.0
/**
 * What virtual machines, and confidential ones above all, need of a computer. A file or a device that is
 * there is a necessary sign and no proof: a KVM that opens may still not boot anything, and hardware that
 * is switched on protects nobody until its evidence was verified elsewhere. The lines say so.
 */
import { closeSync, constants, existsSync, openSync } from "node:fs";
import { apt, type Check, type Finding, missing, ok } from "./check.ts";
import { findOnPath, readHere, runProgram } from "./program.ts";

const QEMU: Record<string, [program: string, pack: string]> = {
  x64: ["qemu-system-x86_64", "qemu-system-x86"],
  arm64: ["qemu-system-aarch64", "qemu-system-arm"],
};

const kvm: Check = {
  id: "kvm",
  group: "virtual machines",
  name: "KVM",
  needed: [],
  timeoutMs: 2_000,
  look: async (here) => {
    try {
      closeSync(openSync(`${here.root}/dev/kvm`, constants.O_RDWR));
      return ok("/dev/kvm opens; whether it boots anything only a real boot tells");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EACCES")
        return missing("/dev/kvm is there and not ours to open", `sudo usermod -aG kvm $USER`);
      return missing(
        `no /dev/kvm (${code}): virtualisation is off in the firmware, or not handed to this machine`,
      );
    }
  },
};

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
  look: async (here) =>
    parameter({
      here,
      path: "/sys/module/kvm_amd/parameters/sev_snp",
      device: "/dev/sev",
      without: "not an AMD host with kvm_amd",
    }),
};

const tdxHost: Check = {
  id: "tdx",
  group: "confidential hardware",
  name: "Intel TDX",
  needed: ["hardware"],
  timeoutMs: 1_000,
  look: async (here) =>
    parameter({
      here,
      path: "/sys/module/kvm_intel/parameters/tdx",
      device: null,
      without: "not an Intel host whose kvm_intel knows TDX",
    }),
};

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

function parameter(ask: {
  here: { root: string };
  path: string;
  device: string | null;
  without: string;
}): Finding {
  const { here, path, device, without } = ask;
  const value = readHere(here, path)?.trim();
  if (value === undefined) return missing(`${without} (no ${path})`);
  if (!["Y", "1"].includes(value))
    return missing(`${path} says ${value}: switch it on in firmware and kernel`);
  if (device !== null && !existsSync(here.root + device))
    return missing(`${path} says ${value}, but there is no ${device}`);
  return ok(`${path} says ${value}; only verified evidence of a guest shows that it protects`);
}

export const VIRTUAL_MACHINES: readonly Check[] = [kvm, qemu, swtpm, snpHost, tdxHost, guest];
