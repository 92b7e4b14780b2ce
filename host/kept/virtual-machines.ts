// SPDX-License-Identifier: Apache-2.0
/**
 * The drivers of virtual machines of this host, and what they need of it: looked for in the background, when there is an image to
 * be started, and said by their probes. Nothing here keeps a host from starting.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "#drivers/docker/program.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import { PROPERTIES } from "#drivers/qemu/confidential.ts";
import { QemuDriver } from "#drivers/qemu/driver.ts";
import { findSnp, findTdx, readSnpNumbers } from "#drivers/qemu/host-hardware.ts";
import { AddressPool } from "#drivers/qemu/network/addresses.ts";
import { Taps } from "#drivers/qemu/network/taps.ts";
import { placeOfDriver, VM_ISOLATIONS, type VmIsolation } from "#drivers/qemu/of-host.ts";
import { hasSeccomp, tryAccelerator } from "#drivers/qemu/trial.ts";
import type { Confidential } from "#drivers/qemu/vm.ts";
import { listImages } from "#images/store.ts";
import type { QemuConfig } from "../config.ts";
import type { HostLog } from "../machine.ts";

export interface VirtualMachinesOf {
  owner: string;
  imagesFolder: string | null;
  registriesInside: readonly string[];
  log: HostLog;
}

/** Where Debian puts them. */
const PROGRAMS = {
  qemu: "/usr/bin/qemu-system-x86_64",
  swtpm: "/usr/bin/swtpm",
  swtpmSetup: "/usr/bin/swtpm_setup",
};
const FIRMWARE = {
  code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
  variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
};
const PACKAGES = { qemu: "qemu-system-x86", swtpm: "swtpm", swtpmSetup: "swtpm-tools" };
/** Beside those of sandboxes; no distribution hands these out. */
const UIDS = { base: 1_880_000_000, count: 20_000 };
const ADDRESSES = "10.231.0.0/16";

const KVM_MS = 10_000;
const LOOK_MS = 2_000;
const ANSWER_MS = 60_000;
/** A guest of containers comes up within a minute where a processor is emulated, and in a few seconds otherwise; the computer may be busy. */
const BOOT_MS = { kvm: 180_000, tcg: 900_000 };
const SHUTDOWN_MS = 60_000;

export function openVirtualMachines(config: QemuConfig | null, of: VirtualMachinesOf): KeptDriver[] {
  const { imagesFolder, owner, log } = of;
  if (config === null || imagesFolder === null) return [];
  const programs = { ...PROGRAMS, ...config.programs };
  const here = new Here(config, programs, imagesFolder, owner, log);
  const addresses = new AddressPool(config.addresses ?? ADDRESSES);
  const uids = config.uids ?? UIDS;
  const share = Math.floor(uids.count / VM_ISOLATIONS.length);
  const firmware = config.firmware ?? FIRMWARE;
  return config.isolations.flatMap((isolation) => {
    const first = share * VM_ISOLATIONS.indexOf(isolation);
    const measured = isolation === "vm-vtpm";
    try {
      const own = placeOfDriver(isolation, owner, config.folder);
      const taps = new Taps(own.owner);
      const driver = new QemuDriver({
        ...{ isolation, imagesFolder, registriesInside: of.registriesInside, ...own },
        ...{ program: programs.qemu, tpmProgram: programs.swtpm },
        tpmSetupProgram: measured ? programs.swtpmSetup : null,
        firmware: measured && existsSync(firmware.code) ? firmware : null,
        uids: process.getuid?.() === 0 ? { base: uids.base + first, count: share } : null,
        ...{ answerMs: ANSWER_MS, shutdownMs: SHUTDOWN_MS, lookMs: LOOK_MS },
        ...{ lacking: () => here.lacking(isolation), looking: () => here.looking },
        confidential: confidentialOf(isolation, config),
        // Found out later than the driver is made.
        get accelerator() {
          return here.accelerator;
        },
        get seccomp() {
          return here.seccomp;
        },
        get bootMs() {
          return BOOT_MS[here.accelerator];
        },
        get networks() {
          return here.networks ? { taps, addresses } : null;
        },
      });
      return [driver];
    } catch (error) {
      log("host.no-virtual-machines", { isolation, error: String(error) });
      return [];
    }
  });
}

/** Null for machines whose memory the host can read. What is not there was said by `lacking`, before any start. */
function confidentialOf(
  isolation: VmIsolation,
  { snp, tdx }: QemuConfig,
): ((launchSha256: Uint8Array) => Confidential) | null {
  if (isolation === "vm-snp" && snp !== undefined)
    return (manifestSha256) => {
      const numbers = readSnpNumbers("");
      if (numbers === null) throw new DriverFault("host.not-ready", "the processor's numbers cannot be read");
      return { guest: { kind: "snp", ...numbers, manifestSha256 }, ...snp };
    };
  if (isolation === "vm-tdx" && tdx !== undefined)
    return (manifestSha256) => ({
      guest: { kind: "tdx", manifestSha256, quotePort: tdx.quotePort },
      ...{ firmware: tdx.firmware, cpuModel: "host" },
    });
  return null;
}

/** What this computer has for virtual machines. */
class Here {
  accelerator: "kvm" | "tcg";
  seccomp = true;
  networks: boolean;
  readonly #config: QemuConfig;
  readonly #programs: typeof PROGRAMS | NonNullable<QemuConfig["programs"]>;
  readonly #imagesFolder: string;
  readonly #owner: string;
  readonly #log: HostLog;
  readonly #objects = new Set<string>();
  #looked: "not" | "looking" | "done" = "not";

  get looking(): boolean {
    return this.#looked === "looking";
  }

  constructor(
    config: QemuConfig,
    programs: NonNullable<QemuConfig["programs"]>,
    imagesFolder: string,
    owner: string,
    log: HostLog,
  ) {
    this.#config = config;
    this.#programs = programs;
    this.#imagesFolder = imagesFolder;
    this.#owner = owner;
    this.#log = log;
    this.accelerator = config.accelerator ?? "tcg";
    // What an earlier process made is found and removed by whoever may make it.
    this.networks = process.getuid?.() === 0 && existsSync("/dev/net/tun") && findNft();
  }

  lacking(isolation: VmIsolation): string | null {
    if (process.arch !== "x64") return "our virtual machines are x86-64, and this computer is not";
    for (const name of isolation === "vm-vtpm" ? (["qemu", "swtpm"] as const) : (["qemu"] as const))
      if (!existsSync(this.#programs[name]))
        return `${this.#programs[name]} is missing: apt-get install -y ${PACKAGES[name]}`;
    const kernel = this.#kernel();
    if (kernel === null) return "there is no guest image yet: casemate images build containers";
    if (this.#looked === "not") void this.#look(kernel);
    if (this.#looked !== "done") return "what virtual machines need is being looked for";
    return isolation === "vm-snp" || isolation === "vm-tdx" ? this.#lackingFor(isolation) : null;
  }

  /** The host's word about itself, so that a start that cannot be is not tried. */
  #lackingFor(isolation: "vm-snp" | "vm-tdx"): string | null {
    const [found, firmware, object] =
      isolation === "vm-snp"
        ? ([findSnp(""), this.#config.snp?.firmware, "sev-snp-guest"] as const)
        : ([findTdx(""), this.#config.tdx?.firmware, "tdx-guest"] as const);
    if (!found.there) return found.why;
    if (isolation === "vm-snp" && readSnpNumbers("") === null)
      return "the processor's numbers cannot be read: modprobe cpuid";
    if (firmware === undefined || !existsSync(firmware))
      return `host.kept.qemu.${isolation.slice(3)}.firmware names no file`;
    if (!this.#objects.has(object)) return `${this.#programs.qemu} knows no ${object}: Debian 13's does`;
    return this.accelerator === "kvm"
      ? null
      : "memory is kept from the host with KVM alone, and it does not work here";
  }

  async #look(kernel: string): Promise<void> {
    this.#looked = "looking";
    const program = this.#programs.qemu;
    try {
      this.seccomp = await hasSeccomp(program);
      for (const object of Object.keys(PROPERTIES)) {
        const ran = await runProgram([program, "-object", `${object},help`], { timeoutMs: KVM_MS });
        if (ran.code === 0) this.#objects.add(object);
      }
      if (this.networks) this.networks = (await new Taps(this.#owner).missing()) === null;
      const opens = this.#config.accelerator == null && existsSync("/dev/kvm");
      if (opens) {
        const signal = AbortSignal.timeout(KVM_MS);
        const ask = { program, kernel, seccomp: this.seccomp, temporary: "/tmp", signal };
        const trial = await tryAccelerator({ ...ask, accelerator: "kvm" });
        if (trial.boots) this.accelerator = "kvm";
      }
    } catch (error) {
      this.#log("host.virtual-machines-untried", { error: String(error) });
    }
    this.#looked = "done";
    const { accelerator, seccomp, networks } = this;
    this.#log("host.virtual-machines", { accelerator, seccomp, networks });
  }

  /** A trial boots what machines will. */
  #kernel(): string | null {
    try {
      const [image] = listImages(this.#imagesFolder);
      return image === undefined ? null : join(image.folder, "kernel");
    } catch {
      return null;
    }
  }
}

const findNft = () => ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].some(existsSync);
