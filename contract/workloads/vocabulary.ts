// SPDX-License-Identifier: Apache-2.0
/** Words of the workloads surface that more than one operation uses. Sources: the workloads seed, its contract. */
import { type Static, Type } from "typebox";

export const Uuid = Type.String({
  pattern: "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
});
export const Instant = Type.String({ description: "ISO 8601, UTC" });
export const WorkloadStatus = Type.Enum([
  "scheduled",
  "starting",
  "awaitingCert",
  "running",
  "stopped",
  "error",
]);

export const Count = Type.Integer({ minimum: 0 });
/** Credits and dollars are views of one integer balance, exact to six decimals. */
export const Money = Type.Number();

export const EnvVars = Type.Record(Type.String(), Type.String({ maxLength: 131_072 }));
export const Files = Type.Record(Type.String(), Type.String(), {
  description: "Name → base64; a service mounts one as $FILES/<name>",
});
export const DockerCredentials = Type.Array(
  Type.Object({ server: Type.String(), username: Type.String(), password: Type.String() }),
  { maxItems: 32 },
);

export const Isolations = Type.Enum(["container", "vm", "vm-vtpm", "vm-snp", "vm-tdx"], {
  description:
    "container: processes of the host. vm: a kernel of its own. vm-vtpm: the same, its start measured; the operator is trusted. vm-snp, vm-tdx: memory that the operator cannot read. Without it: your account's rule, then the installation's.",
});

export const Hash = Type.String({ pattern: "^[0-9a-f]{64}$" });

export const Measurement = Type.Object({
  isolation: Type.String(),
  imageSha256: Hash,
  launchSha256: Hash,
  manifest: Type.String({ description: "The launch manifest; its SHA-256 is launchSha256" }),
  commandLine: Type.String(),
  policy: Type.Object(
    {},
    { description: "A policy file for `casemate attest verify`", additionalProperties: true },
  ),
});

export const Workload = Type.Object({
  workloadId: Uuid,
  accountId: Type.String(),
  name: Type.String(),
  artifactsVersion: Type.String(),
  dockerCompose: Type.String(),
  envVars: Type.Optional(Type.Record(Type.String(), Type.String(), { description: "Values are redacted" })),
  files: Type.Optional(Type.Record(Type.String(), Type.String(), { description: "Bodies are redacted" })),
  dockerCredentials: Type.Optional(DockerCredentials),
  publicContainerName: Type.String(),
  publicContainerPort: Type.Integer(),
  serviceToExpose: Type.String({ deprecated: true }),
  servicePortToExpose: Type.Integer({ deprecated: true }),
  memory: Type.Integer({ description: "MB" }),
  cpus: Type.Integer(),
  disk: Type.Integer({ description: "GB" }),
  gpus: Type.Integer(),
  status: WorkloadStatus,
  domain: Type.String({ description: "Of your own, if you brought one" }),
  metalInstanceDomain: Type.String({ description: "What a domain of your own is to be an alias (CNAME) of" }),
  isolation: Type.String({ description: "What keeps others out; `container` keeps out no operator" }),
  imageSha256: Type.Optional({
    ...Hash,
    description: "Of the guest image's metadata; absent for a container",
  }),
  sealedEnv: Type.Optional(Type.Array(Type.String(), { description: "Names; the values were never here" })),
  secrets: Type.Enum(["clear", "sealed"], {
    description:
      "clear: values of variables came here in clear, and whoever runs this installation could have read them. sealed: those named in sealedEnv come sealed to the machine's key",
  }),
  creditRate: Money,
  usdCostPerMin: Money,
  url: Type.String({ description: "Where the public container answers" }),
  createdAt: Instant,
  updatedAt: Instant,
  warnings: Type.Optional(
    Type.Array(Type.Object({ path: Type.String(), line: Type.Integer(), message: Type.String() })),
  ),
});

export const WorkloadId = Type.Object({ workloadId: Uuid });
export const Empty = Type.Object({});

export const Issue = Type.Object({
  path: Type.String(),
  message: Type.String(),
  line: Type.Optional(Type.Integer()),
});
export const ErrorBody = Type.Object({
  ts: Instant,
  error: Type.String(),
  kind: Type.String({ examples: ["INVALID_PAYLOAD"] }),
  issues: Type.Optional(Type.Array(Issue)),
  requestId: Type.String(),
});

export const Tier = Type.Object({
  tierId: Uuid,
  name: Type.String(),
  cpus: Count,
  gpus: Count,
  memoryMb: Count,
  diskGb: Count,
  cost: Money,
  usdCostPerMin: Money,
});

export type WorkloadStatus = Static<typeof WorkloadStatus>;

/** What a host may say of a workload; the rest is said by the operator and the owner. */
export const EventKind = Type.Enum([
  "starting",
  "vmRestarted",
  "awaitingCert",
  "running",
  "stopped",
  "failedToStart",
  "warning",
]);
