// SPDX-License-Identifier: Apache-2.0
/** The host's configuration: one JSON file, parsed once, unknown members refused, nothing left optional. */
import { readFileSync } from "node:fs";
import { type Static, Type } from "typebox";
import { Compile } from "typebox/compile";
import { Isolation } from "#contract/link/machine.ts";
import { NatsFiles, NO_NATS } from "#link/nats/files.ts";

const closed = <P extends Parameters<typeof Type.Object>[0]>(members: P) =>
  Type.Object(members, { additionalProperties: false });
const Path = Type.String({ pattern: "^/" });
const Uid = Type.Integer({ minimum: 0, maximum: 2 ** 32 - 2 });
const Port = Type.Integer({ minimum: 0, maximum: 65535 });
const AtLeastOne = Type.Integer({ minimum: 1 });

const Acme = closed({
  directoryUrl: Type.String({ pattern: "^https://" }),
  /** Where the directory writes about the account. */
  email: Type.Optional(Type.Union([Type.String({ pattern: "^[^@\\s]+@[^@\\s]+$" }), Type.Null()])),
  /** PEM of what signed for a private directory; absent or null: what Node trusts. */
  caFile: Type.Optional(Type.Union([Path, Type.Null()])),
  challenge: Type.Enum(["http-01", "dns-01"]),
});

const Qemu = closed({
  /** Its own, short (sockets are below it), and every uid may pass through all folders above it. */
  folder: Path,
  isolations: Type.Array(Type.Enum(["vm", "vm-vtpm", "vm-snp", "vm-tdx"]), { uniqueItems: true }),
  /** For vm-snp: a firmware that measures the kernel's hashes (OVMF built for AMD SEV), and QEMU's name of the processor it shows. */
  snp: Type.Optional(closed({ firmware: Path, cpuModel: Type.String({ pattern: "^[A-Za-z0-9-]{1,40}$" }) })),
  /** For vm-tdx: its firmware, and the port of the quoting service at the host's end of vsock. */
  tdx: Type.Optional(
    closed({ firmware: Path, quotePort: Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 }) }),
  ),
  /** Host uids for machines, two each and half of them for each isolation; absent or null: our own choice. */
  uids: Type.Optional(Type.Union([closed({ base: Uid, count: Type.Integer({ minimum: 4 }) }), Type.Null()])),
  /** A range that nothing else here uses, four addresses a machine. */
  addresses: Type.Optional(Type.String({ pattern: "^[0-9.]{7,15}/[0-9]{1,2}$" })),
  /** Absent or null: KVM where a kernel boots with it, emulation otherwise. */
  accelerator: Type.Optional(Type.Union([Type.Enum(["kvm", "tcg"]), Type.Null()])),
  /** Absent: where Debian has them. */
  programs: Type.Optional(closed({ qemu: Path, swtpm: Path, swtpmSetup: Type.Union([Path, Type.Null()]) })),
  /** For measured boot; absent: Debian's OVMF. */
  firmware: Type.Optional(closed({ code: Path, variables: Path })),
});
export type QemuConfig = Static<typeof Qemu>;

const SystemContainers = closed({
  /** As that of `qemu`. */
  folder: Path,
  /** An OCI runtime; absent: the first of Debian's that is there. */
  runtime: Type.Optional(Path),
  /** Host uids, 65,536 for each; absent: our own choice. */
  users: Type.Optional(closed({ base: Uid, ranges: AtLeastOne })),
  /** A range that nothing else here uses, four addresses a container. */
  addresses: Type.Optional(Type.String({ pattern: "^[0-9.]{7,15}/[0-9]{1,2}$" })),
});
export type SystemContainersConfig = Static<typeof SystemContainers>;

const HostConfig = closed({
  stateFolder: Path,
  /** Control's socket on this machine; null when control is met at a broker. */
  linkPath: Type.Union([Path, Type.Null()]),
  nats: NatsFiles,
  /** Every sandbox uid may enter it: 0755 up to the root. */
  sandboxFolder: Path,
  signer: closed({ folder: Path, kekPath: Path, uid: Uid }),
  /** Null: the driver's own choice. */
  proberUid: Type.Union([Uid, Type.Null()]),
  /** Of the ingress process; null: our own choice. */
  ingressUid: Type.Union([Uid, Type.Null()]),
  /** Host uids for machines; null: the driver's own choice. */
  uids: Type.Union([closed({ base: Uid, count: AtLeastOne }), Type.Null()]),
  /** Sandboxes kept ready for sessions that were not asked for yet. */
  spareSandboxes: Type.Integer({ minimum: 0, maximum: 64 }),
  /** Root templates by name. */
  templates: Type.Record(
    Type.String({ pattern: "^[a-z0-9][a-z0-9._-]{0,63}$" }),
    closed({ path: Path, digest: Type.String({ pattern: "^sha256:[0-9a-f]{64}$" }) }),
  ),
  /** Searched for a machine's canary at its end. */
  traces: closed({ folders: Type.Array(Path), logs: Type.Array(Path) }),
  ceiling: closed({
    machines: AtLeastOne,
    memoryMiB: AtLeastOne,
    cpuMillis: AtLeastOne,
    pidsMax: AtLeastOne,
    memoryTotalMiB: AtLeastOne,
    isolations: Type.Array(Isolation),
  }),
  /** Guest images of this machine, as `casemate images` keeps them; null: there are none. */
  imagesFolder: Type.Union([Path, Type.Null()]),
  /** Kept machines, in containers; null: none are taken. */
  kept: Type.Union([
    closed({
      docker: closed({
        socketPath: Path,
        folder: Path,
        /** Registries at addresses inside that clients may name, `host:port`. */
        registriesInside: Type.Optional(Type.Array(Type.String({ pattern: "^[a-z0-9.-]+(:[0-9]{1,5})?$" }))),
        /** The cgroup (v2) of the engine's process, which is then kept from addresses inside. */
        engineCgroup: Type.Optional(Type.Union([Type.String({ maxLength: 1024 }), Type.Null()])),
      }),
      /** Virtual machines; null: none are taken. */
      qemu: Type.Optional(Type.Union([Qemu, Type.Null()])),
      /** Containers that people log in to, in the folder of virtual machines; null or absent: none are taken. */
      systemContainers: Type.Optional(Type.Union([SystemContainers, Type.Null()])),
      /** Where people log in to machines that are for that: addresses of this computer, one for each machine; absent or null: nowhere. */
      ssh: Type.Optional(
        Type.Union([
          closed({
            addresses: Type.String({ pattern: "^[0-9.]{7,15}/[0-9]{1,2}$" }),
            /** Listened on, at each of them. */
            port: Type.Integer({ minimum: 1, maximum: 65535 }),
            /** As root, port 22 of the addresses leads there, by a rule of nftables. */
            redirect: Type.Boolean(),
          }),
          Type.Null(),
        ]),
      ),
      ceiling: closed({ cpuMillis: AtLeastOne, memoryMiB: AtLeastOne, diskMiB: AtLeastOne }),
      ingress: closed({
        host: Type.String(),
        httpPort: Port,
        httpsPort: Port,
        /** A directory (RFC 8555) that signs for the names of workloads; absent or null: our own authority does. */
        acme: Type.Optional(Type.Union([Acme, Type.Null()])),
        /** Control's API under a name of its own, at a port of this machine, and what is shown to it there. */
        api: Type.Optional(
          Type.Union([
            closed({ domain: Type.String(), port: Port, proofFile: Type.Optional(Type.String()) }),
            Type.Null(),
          ]),
        ),
      }),
      /** Halts them when the host stops; they come up again with the next start. */
      haltOnStop: Type.Boolean(),
      orphanGraceMs: Type.Optional(Type.Integer({ minimum: 60_000 })),
    }),
    Type.Null(),
  ]),
  expiryGraceMs: Type.Integer({ minimum: 0 }),
  enginesEveryMs: Type.Integer({ minimum: 1_000 }),
  farewellMs: Type.Integer({ minimum: 0 }),
});
export type HostConfig = Static<typeof HostConfig>;

const DEFAULTS = {
  proberUid: null,
  ingressUid: null,
  uids: null,
  spareSandboxes: 2,
  templates: {},
  traces: { folders: [], logs: [] },
  imagesFolder: null,
  kept: null,
  linkPath: null,
  nats: NO_NATS,
  expiryGraceMs: 2_000,
  enginesEveryMs: 5_000,
  farewellMs: 2_000,
};

const check = Compile(HostConfig);

export function readHostConfig(path: string): HostConfig {
  const given: unknown = JSON.parse(readFileSync(path, "utf8"));
  const whole: unknown = { ...DEFAULTS, ...(given as object) };
  if (check.Check(whole)) return whole;
  const first = check.Errors(whole)[0];
  throw new Error(`${path}: ${first?.instancePath ?? ""} ${first?.message ?? "is not a host configuration"}`);
}
