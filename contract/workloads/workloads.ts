// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { InclusionReplies, TreeQuery } from "../inclusion.ts";
import { MEBIBYTE, operation } from "../operation.ts";
import {
  DockerCredentials,
  Empty,
  EnvVars,
  Files,
  Instant,
  Isolations,
  Issue,
  Measurement,
  Money,
  Uuid,
  Workload,
  WorkloadId,
} from "./vocabulary.ts";

const BODY_MAX = 16 * MEBIBYTE;
const base = { surface: "workloads", tag: "Workloads", access: "key" } as const;
const EXAMPLE_ID = { workloadId: "00000000-0000-4000-8000-000000000000" };

export const createWorkload = operation({
  ...base,
  id: "workloads.create",
  method: "POST",
  path: "/api/v1/workloads/create",
  scope: "workloads:write",
  summary: "Run a docker-compose file",
  description:
    "cpus, memory, disk and gpus must equal those of a tier. The compose file is checked against a policy; every violation is told at once.",
  query: Type.Object({ dryRun: Type.Optional(Type.Enum(["0", "1"])) }),
  body: Type.Object({
    name: Type.String({ minLength: 1, maxLength: 256 }),
    artifactsVersion: Type.String({ minLength: 1, maxLength: 64 }),
    dockerCompose: Type.String({ minLength: 1, maxLength: MEBIBYTE }),
    envVars: Type.Optional(EnvVars),
    files: Type.Optional(Files),
    dockerCredentials: Type.Optional(DockerCredentials),
    domain: Type.Optional(
      Type.String({
        maxLength: 253,
        description:
          "A domain of your own, in lower case and ASCII form, beside the workload's own name. Shown to be yours by a TXT record at _casemate-challenge.<domain>, whose text is your account's: a refused create names it. Lead the domain here by an alias (CNAME) of metalInstanceDomain. The record is looked for again daily; missing, it is warned about, and later the domain leads nowhere.",
      }),
    ),
    publicContainerName: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    publicContainerPort: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
    serviceToExpose: Type.Optional(Type.String({ minLength: 1, maxLength: 128, deprecated: true })),
    servicePortToExpose: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535, deprecated: true })),
    memory: Type.Integer({ minimum: 512, maximum: 16_777_216, description: "MB" }),
    cpus: Type.Integer({ minimum: 1, maximum: 1024 }),
    disk: Type.Integer({ minimum: 0, maximum: 1_048_576, description: "GB" }),
    gpus: Type.Integer({ minimum: 0, maximum: 64 }),
    isolation: Type.Optional(Isolations),
    sealedEnv: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 256 }), {
        maxItems: 1000,
        description:
          "Names of variables whose values you will seal to the machine's key with each of its starts (`casemate workloads seal`)",
      }),
    ),
  }),
  bodyLimit: BODY_MAX,
  responses: {
    200: {
      description: "With dryRun=1: what would happen",
      schema: Type.Object({
        valid: Type.Boolean(),
        issues: Type.Array(Issue),
        warnings: Type.Array(Issue),
        creditRate: Type.Union([Money, Type.Null()]),
        usdCostPerMin: Type.Union([Money, Type.Null()]),
        expectedMeasurement: Type.Union([Type.Null(), Measurement], {
          description:
            "What the machine's evidence will have to show; null for a container, which has none. The name in it is one of the dry run's own unless you brought a domain.",
        }),
      }),
    },
    201: { description: "The workload", schema: Workload },
  },
  errors: [
    "identity.unauthorized",
    "limits.rate",
    "workload.compose",
    "workload.reserved-variable",
    "workload.tier",
    "workload.file",
    "workload.domain",
    "workload.domain-exists",
    "artifact.not-semver",
    "artifact.not-found",
    "ledger.not-enough",
    "fleet.no-capacity",
    "host.not-ready",
    "workload.isolation",
  ],
  idempotent: true,
  example: {
    body: {
      name: "hello",
      artifactsVersion: "0.1.0",
      dockerCompose:
        'services:\n  api:\n    image: caddy:2\n    command: |\n      caddy respond --listen :80 --body \'{"hi":"foo"}\' --header "Content-Type: application/json"',
      publicContainerName: "api",
      publicContainerPort: 80,
      memory: 512,
      cpus: 1,
      disk: 5,
      gpus: 0,
    },
  },
});

const list = {
  ...base,
  path: "/api/v1/workloads/list",
  summary: "The account's workloads, oldest first",
  query: Type.Object({
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
    cursor: Type.Optional(Type.String({ maxLength: 256 })),
    status: Type.Optional(Type.String({ maxLength: 32 })),
  }),
  responses: { 200: { description: "Workloads", schema: Type.Array(Workload) } },
  errors: ["identity.unauthorized"],
} as const;
export const listWorkloads = operation({ ...list, id: "workloads.list", method: "GET" });
/** The seed's own example lists with POST. */
export const listWorkloadsByPost = operation({
  ...list,
  id: "workloads.list-by-post",
  method: "POST",
  storesNothing: true,
});

export const getWorkload = operation({
  ...base,
  id: "workloads.get",
  method: "GET",
  path: "/api/v1/workloads/:id",
  summary: "One workload",
  params: Type.Object({ id: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "The workload", schema: Workload } },
  errors: ["identity.unauthorized", "workload.not-found"],
});

const action = {
  ...base,
  method: "POST",
  scope: "workloads:write",
  responses: { 200: { description: "The wish is recorded", schema: Empty } },
  idempotent: true,
  example: { body: EXAMPLE_ID },
} as const;

export const startWorkload = operation({
  ...action,
  id: "workloads.start",
  path: "/api/v1/workloads/start",
  summary: "Start a stopped workload",
  body: WorkloadId,
  errors: ["identity.unauthorized", "workload.not-found", "ledger.not-enough", "fleet.no-capacity"],
});
export const stopWorkload = operation({
  ...action,
  id: "workloads.stop",
  path: "/api/v1/workloads/stop",
  summary: "Stop a workload; its disk stays",
  body: WorkloadId,
  errors: ["identity.unauthorized", "workload.not-found"],
});
export const restartWorkload = operation({
  ...action,
  id: "workloads.restart",
  path: "/api/v1/workloads/restart",
  summary: "Start a workload anew, with other variables when given",
  body: Type.Object({ workloadId: Uuid, envVars: Type.Optional(EnvVars) }),
  bodyLimit: BODY_MAX,
  errors: [
    "identity.unauthorized",
    "workload.not-found",
    "workload.reserved-variable",
    "workload.compose",
    "ledger.not-enough",
    "fleet.no-capacity",
  ],
});
export const updateWorkload = operation({
  ...base,
  id: "workloads.update",
  method: "PUT",
  path: "/api/v1/workloads/update",
  scope: "workloads:write",
  summary: "Run something else under the same id, name and disk",
  description: "What is given replaces what was there. A workload that runs is started anew with it.",
  body: Type.Object({
    workloadId: Uuid,
    dockerCompose: Type.Optional(Type.String({ minLength: 1, maxLength: MEBIBYTE })),
    envVars: Type.Optional(EnvVars),
    files: Type.Optional(Files),
    artifactsVersion: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  }),
  bodyLimit: BODY_MAX,
  responses: { 200: { description: "The workload", schema: Workload } },
  errors: [
    "identity.unauthorized",
    "workload.not-found",
    "workload.reserved-variable",
    "workload.compose",
    "workload.file",
    "artifact.not-semver",
    "artifact.not-found",
    "host.not-ready",
  ],
  idempotent: true,
  example: { body: { ...EXAMPLE_ID, envVars: { FOO: "43" } } },
});
export const deleteWorkload = operation({
  ...action,
  id: "workloads.delete",
  path: "/api/v1/workloads/delete",
  summary: "Remove a workload with everything it has",
  body: WorkloadId,
  errors: ["identity.unauthorized", "workload.not-found"],
});

const asked = { ...base, method: "POST", storesNothing: true } as const;
const away = ["identity.unauthorized", "workload.not-found", "machine.not-running", "host.away"] as const;
const Lines = Type.Object({ lines: Type.Array(Type.String()) });
const logAsk = {
  tail: Type.Optional(Type.Boolean()),
  maxLines: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
  since: Type.Optional(
    Type.String({
      maxLength: 40,
      pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,9})?(Z|[+-]\\d\\d:\\d\\d)?$",
      description: "Only lines after this time, ISO 8601; UTC when it names no zone",
    }),
  ),
  timestamps: Type.Optional(Type.Boolean()),
};
const Follow = Type.Object({ follow: Type.Optional(Type.Enum(["0", "1"])) });

export const workloadLogs = operation({
  ...asked,
  id: "workloads.logs",
  path: "/api/v1/workloads/logs",
  summary: "The machine's own log: its starts, progress and faults",
  query: Follow,
  body: Type.Object({ workloadId: Uuid, source: Type.Optional(Type.String({ maxLength: 64 })), ...logAsk }),
  responses: { 200: { description: "Lines; with ?follow=1 an event stream of them", schema: Lines } },
  errors: away,
  example: { body: EXAMPLE_ID },
});

export const workloadStats = operation({
  ...asked,
  id: "workloads.stats",
  path: "/api/v1/workloads/stats",
  summary: "Memory, cpus and disks",
  body: WorkloadId,
  responses: {
    200: {
      description: "Figures; sizes in bytes, usage in percent of one cpu, frequency in MHz",
      schema: Type.Object({
        memory: Type.Object({ total: Type.Number(), used: Type.Number() }),
        cpus: Type.Array(
          Type.Object({ name: Type.String(), usage: Type.Number(), frequency: Type.Number() }),
        ),
        disks: Type.Array(
          Type.Object({
            name: Type.String(),
            mountPoint: Type.String(),
            filesystem: Type.String(),
            size: Type.Number(),
            used: Type.Number(),
          }),
        ),
      }),
    },
  },
  errors: away,
  example: { body: EXAMPLE_ID },
});

export const listContainers = operation({
  ...asked,
  id: "workloads.containers.list",
  tag: "Containers",
  path: "/api/v1/workload-containers/list",
  summary: "Containers of a workload",
  body: WorkloadId,
  responses: {
    200: {
      description: "Containers",
      schema: Type.Array(
        Type.Object({
          names: Type.Array(Type.String()),
          image: Type.String(),
          imageId: Type.String(),
          state: Type.String(),
        }),
      ),
    },
  },
  errors: away,
  example: { body: EXAMPLE_ID },
});

export const containerLogs = operation({
  ...asked,
  id: "workloads.containers.logs",
  tag: "Containers",
  path: "/api/v1/workload-containers/logs",
  summary: "What a container wrote",
  query: Follow,
  body: Type.Object({
    workloadId: Uuid,
    container: Type.String({ minLength: 1, maxLength: 256 }),
    stream: Type.Optional(Type.Enum(["stdout", "stderr", "both"])),
    ...logAsk,
  }),
  responses: { 200: { description: "Lines; with ?follow=1 an event stream of them", schema: Lines } },
  errors: [...away, "machine.no-container"],
  example: { body: { ...EXAMPLE_ID, container: "api" } },
});

export const listEvents = operation({
  ...asked,
  id: "workloads.events.list",
  tag: "Events",
  path: "/api/v1/workload-events/list",
  summary: "What happened to a workload, in order",
  body: WorkloadId,
  responses: {
    200: {
      description: "Events",
      schema: Type.Object({
        events: Type.Array(
          Type.Object({
            eventId: Uuid,
            details: Type.Object({
              kind: Type.String(),
              error: Type.Optional(Type.String()),
              message: Type.Optional(Type.String()),
              image: Type.Optional(Type.String({ description: "Of imageResolved: the name as it was read" })),
              digest: Type.Optional(Type.String({ description: "Of imageResolved: what it meant then" })),
              by: Type.Optional(Type.String({ description: "Of imageResolved: the key that asked" })),
            }),
            timestamp: Instant,
          }),
        ),
      }),
    },
  },
  errors: ["identity.unauthorized", "workload.not-found"],
  example: { body: EXAMPLE_ID },
});

export const caCertificate = operation({
  ...base,
  id: "workloads.ca",
  method: "GET",
  path: "/ca.pem",
  access: "public",
  perAddressRpm: 600,
  summary: "Certificates of the authorities that sign for workloads here, to be given to a client",
  responses: { 200: { description: "PEM, one for each host", mediaType: "application/x-pem-file" } },
});

export const tpmRoots = operation({
  ...base,
  id: "workloads.tpm-roots",
  method: "GET",
  path: "/tpm-roots.pem",
  access: "public",
  perAddressRpm: 600,
  summary:
    "Roots that vouch for the TPMs of machines here: the hosts' own, for `casemate attest verify --roots`",
  responses: { 200: { description: "PEM, one for each host", mediaType: "application/x-pem-file" } },
});

export const guestImage = operation({
  ...base,
  id: "workloads.guest-image",
  method: "GET",
  path: "/guest-images/:sha256",
  access: "public",
  perAddressRpm: 600,
  summary: "What is known of a guest image, by its hash: every package and file it was made from",
  description:
    "For `casemate attest verify --image`. Its SHA-256 is the name you asked by. Whether such an image does what you want is for you to see: `casemate images build` makes the same of the same lock file.",
  params: Type.Object({ sha256: Type.String({ maxLength: 64 }) }),
  responses: { 200: { description: "image.json", mediaType: "application/json" } },
  errors: ["guest-image.not-found"],
});

export const guestImageTransparency = operation({
  ...base,
  id: "workloads.guest-image.transparency",
  method: "GET",
  path: "/guest-images/:sha256/transparency",
  access: "public",
  perAddressRpm: 600,
  summary: "Where the guest image is in the transparency log",
  description:
    "For `casemate log includes`. Every image that a workload or an instance here was ever started from is an entry of the log, " +
    "written with what names it; one that is offered is entered before that. 202 until a checkpoint has it.",
  params: Type.Object({ sha256: Type.String({ maxLength: 64 }) }),
  query: TreeQuery,
  responses: InclusionReplies,
  errors: ["guest-image.not-found", "log.no-such-tree", "limits.rate"],
});

export const health = operation({
  ...base,
  id: "workloads.health",
  method: "GET",
  path: "/health",
  access: "public",
  perAddressRpm: 600,
  summary: "Whether workloads can be run here",
  responses: {
    200: {
      description: "Up",
      schema: Type.Object({
        status: Type.Literal("ok"),
        hosts: Type.Integer(),
        isolations: Type.Array(Type.String(), { description: "Classes of machines that can be started now" }),
        missing: Type.Array(Type.String(), { description: "What is missing, one line each" }),
      }),
    },
  },
});
