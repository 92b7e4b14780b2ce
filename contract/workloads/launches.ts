// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { MEBIBYTE, operation } from "../operation.ts";
import { Empty, Hash, Instant, Uuid, WorkloadId } from "./vocabulary.ts";

const EXAMPLE_ID = { workloadId: "00000000-0000-4000-8000-000000000000" };
const base = { surface: "workloads", tag: "Launches", access: "key", method: "POST" } as const;

const Launch = Type.Object({
  imageSha256: Type.String({ description: "Of the guest image's metadata" }),
  launchSha256: Type.String({ description: "Of the launch manifest, as it is on the measured command line" }),
  approvedAt: Type.Union([Instant, Type.Null()], { description: "null: secrets were refused to it" }),
  approvedBy: Type.Union([Type.String(), Type.Null()], { description: "The key that did" }),
  seenAt: Instant,
});

export const listLaunches = operation({
  ...base,
  id: "workloads.launches.list",
  path: "/api/v1/workloads/launches/list",
  storesNothing: true,
  summary: "What a workload's machine was started as, newest first",
  body: WorkloadId,
  responses: { 200: { description: "Launches", schema: Type.Array(Launch) } },
  errors: ["identity.unauthorized", "workload.not-found"],
  example: { body: EXAMPLE_ID },
});

export const giveSealedEnv = operation({
  ...base,
  id: "workloads.sealed-env.give",
  path: "/api/v1/workloads/sealed-env",
  scope: "workloads:write",
  summary: "Give a waiting machine variables that only it can read",
  description:
    "The box is HPKE (RFC 9180: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) over a JSON map of names and values, the encapsulated key before the ciphertext, with the info `casemate env v1`, a line feed and the 32 bytes of the launch hash. The key is the machine's, of this start; verify its evidence before sealing anything to it. `casemate workloads seal` does both.",
  body: Type.Object({
    workloadId: Uuid,
    sealingKey: Type.String({ maxLength: 64, description: "Base64 of the key that the box is sealed to" }),
    box: Type.String({ pattern: "^[A-Za-z0-9+/]*={0,2}$", maxLength: 2_000_000, description: "Base64" }),
  }),
  bodyLimit: 3 * MEBIBYTE,
  responses: { 200: { description: "Kept for that machine", schema: Empty } },
  errors: ["identity.unauthorized", "workload.not-found", "machine.not-attested"],
  example: { body: { ...EXAMPLE_ID, sealingKey: `${"A".repeat(43)}=`, box: "AAAA" } },
});

export const approveLaunch = operation({
  ...base,
  id: "workloads.launches.approve",
  path: "/api/v1/workloads/launches/approve",
  scope: "workloads:approve",
  summary: "Let a launch have the workload's secrets and disk",
  description:
    "With an account whose rule is `change`, creating and updating approve what they make. A launch that was refused is listed with approvedAt null; start the workload again after approving it.",
  body: Type.Object({ workloadId: Uuid, imageSha256: Hash, launchSha256: Hash }),
  responses: { 200: { description: "The launch", schema: Launch } },
  errors: ["identity.unauthorized", "workload.not-found", "machine.not-attested"],
  idempotent: true,
  example: { body: { ...EXAMPLE_ID, imageSha256: "0".repeat(64), launchSha256: "0".repeat(64) } },
});
