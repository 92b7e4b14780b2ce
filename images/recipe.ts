// SPDX-License-Identifier: Apache-2.0
/**
 * What each image is made of, by name. The exact packages are in `<name>.lock.json` beside this file; here is what
 * they are resolved from when the lock is renewed, and what is left out of them.
 */
import { readFileSync } from "node:fs";
import pkg from "#package.json" with { type: "json" };
import type { NpmProgram } from "./agents/npm-program.ts";

export interface Recipe {
  name: string;
  /** Semantic version: the release's, since the agent is the release's. */
  version: string;
  suite: string;
  architecture: "amd64";
  /** Installed in the root beside everything that Debian calls essential. */
  packages: readonly string[];
  /** The package whose one dependency is the current kernel. */
  kernelPackage: string;
  stubPackage: string;
  /** What compiles the agent; unpacked for that and left out of the image. */
  compilerPackages: readonly string[];
  /** Where the compiler's root lies in those. */
  compilerRoot: string;
  /** Loaded by the agent before it looks for the root; what they depend on comes along. */
  modules: readonly string[];
  /** Files of ours in the root, which no package brings: path and text. The agent is not among them, it is in the initramfs. */
  files: Readonly<Record<string, string>>;
  /** A packaged agent: its program and the user that it runs as. Absent: none. */
  agent?: { program: NpmProgram; user: { name: string; id: number; home: string } };
}

const TRIXIE = {
  suite: "trixie",
  architecture: "amd64",
  kernelPackage: "linux-image-cloud-amd64",
  stubPackage: "systemd-boot-efi",
  compilerPackages: ["golang-1.24-go", "golang-1.24-src"],
  compilerRoot: "usr/lib/go-1.24",
} as const;

const MODULES = [
  ...["virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng"],
  ...["sha256-ssse3", "crc32c-intel", "dm-verity", "erofs", "overlay"],
  // For a state disk that is encrypted.
  ...["dm-crypt", "xts", "aesni-intel", "ecb"],
  // For evidence: of SEV-SNP and TDX by one file system of reports, of a TPM by its device.
  ...["tsm", "sev-guest", "tdx-guest", "tpm_crb", "tpm_tis"],
];

/** What netavark says to nftables, and the bridges and pairs of interfaces that it joins containers by. */
const CONTAINER_MODULES = [
  ...["bridge", "br_netfilter", "veth", "nf_nat", "nf_tables", "nft_chain_nat", "nft_ct", "nft_masq"],
  ...["nft_nat", "nft_fib_inet", "nft_reject_inet"],
];

// The first is what keeps apt from taking the Perl program that would merge /usr on an old system. The last makes file
// systems: a state disk gets one when it is used first.
const PACKAGES = ["usr-is-merged", "ca-certificates", "e2fsprogs"];

/** There is no systemd in a guest, which podman would ask for groups and hand its journal to. */
const CONTAINERS_CONF = `[containers]
log_driver = "k8s-file"
log_size_max = 16777216

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"

[network]
network_backend = "netavark"
firewall_driver = "nftables"
`;

/** All that a workload writes through podman is below one folder, which the agent puts the state disk under. */
const STORAGE_CONF = `[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
`;

/** What the guest's agent reads of the packaged one: how it is started, configured and asked whether it is well (guest/agent/packaged.go). */
const AGENT_FILE = "etc/casemate-agent.json";

const agentFile = (agent: string, name: string) =>
  readFileSync(new URL(`agents/${agent}/${name}`, import.meta.url), "utf8");

function agentOf(name: string, marks: readonly string[]): Required<Pick<Recipe, "agent">> & { file: string } {
  const file = agentFile(name, "agent.json");
  const { user } = JSON.parse(file) as { user: { name: string; id: number; home: string } };
  const program = {
    folder: `opt/${name}`,
    manifest: agentFile(name, "package.json"),
    lock: agentFile(name, "package-lock.json"),
    marks,
  };
  return { agent: { program, user }, file };
}

/** With scripts, all that its own changes of what was unpacked is that this file is gone (2026.9.6, compared). Its user could not remove it. */
const OPENCLAW = agentOf("openclaw", ["openclaw/.openclaw-lifecycle-pending"]);

export const RECIPES: Record<string, Recipe> = {
  /** For machines that somebody logs in to. */
  base: {
    ...TRIXIE,
    name: "base",
    version: pkg.version,
    // Accounts of packages are made by the small one of the programs that can, not by the whole of systemd.
    packages: [...PACKAGES, "openssh-server", "systemd-standalone-sysusers"],
    modules: MODULES,
    files: {},
  },
  /** The same with the agent openclaw, and the C++ library that its Node needs. */
  openclaw: {
    ...TRIXIE,
    name: "openclaw",
    version: pkg.version,
    packages: [...PACKAGES, "openssh-server", "systemd-standalone-sysusers", "libstdc++6", "curl", "git"],
    modules: MODULES,
    files: { [AGENT_FILE]: OPENCLAW.file },
    agent: OPENCLAW.agent,
  },
  /** For workloads: podman and what runs a compose file on its socket. Nobody logs in. */
  containers: {
    ...TRIXIE,
    name: "containers",
    version: pkg.version,
    packages: [
      ...PACKAGES,
      ...["podman", "crun", "conmon", "netavark", "aardvark-dns", "nftables", "docker-compose"],
      // The first process of services that ask for one (`init: true`).
      "catatonit",
    ],
    modules: [...MODULES, ...CONTAINER_MODULES],
    files: {
      "etc/containers/containers.conf": CONTAINERS_CONF,
      "etc/containers/storage.conf": STORAGE_CONF,
    },
  },
};

export function requireRecipe(name: string): Recipe {
  const recipe = Object.hasOwn(RECIPES, name) ? RECIPES[name] : undefined;
  if (recipe === undefined)
    throw new Error(`there is no image ${name}; there are: ${Object.keys(RECIPES).join(", ")}`);
  return recipe;
}

/** Folders whose bytes nobody in a guest reads. What is said of rights stays. */
export const LEFT_OUT = [
  "path-exclude=/usr/share/man/*",
  "path-exclude=/usr/share/info/*",
  "path-exclude=/usr/share/locale/*",
  "path-exclude=/usr/share/doc/*",
  "path-include=/usr/share/doc/*/copyright",
] as const;
