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
