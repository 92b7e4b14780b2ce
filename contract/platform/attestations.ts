// SPDX-License-Identifier: Apache-2.0
/** Evidence of machines, judged: asked of a machine of yours, or brought. */
import { Type } from "typebox";
import { MEBIBYTE, operation } from "../operation.ts";
import { Instant, Page } from "./vocabulary.ts";

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);
const Base64 = Type.String({ pattern: "^[A-Za-z0-9+/]*={0,2}$", maxLength: MEBIBYTE });
const Hex = (bytesMin: number, bytesMax: number) =>
  Type.String({ pattern: `^([0-9a-f]{2}){${bytesMin},${bytesMax}}$` });
const Step = Type.Object({ name: Type.String(), ok: Type.Boolean(), detail: Type.String() });

export const Attestation = Type.Object({
  id: Type.String({ description: "att_ and 32 hex digits" }),
  object: Type.Enum(["attestation"]),
  workload_id: Nullable(Type.String()),
  instance_id: Nullable(Type.String()),
  purpose: Type.Enum(["report", "seal", "login", "brought"], {
    description:
      "report: asked for by you. seal: asked for by us before the machine was given its secrets. login: before an instance was ready, of the keys that its SSH server shows. brought: by you",
  }),
  platform: Nullable(Type.Enum(["sev-snp", "tdx", "tpm"])),
  accepted: Type.Boolean(),
  uncheckable: Type.Boolean({ description: "Every step passed, and no policy says what was expected" }),
  hardware: Type.Boolean({ description: "Accepted evidence of a processor; never of a TPM" }),
  steps: Type.Array(Step),
  unasked: Type.Array(Type.Object({ name: Type.String(), detail: Type.String() })),
  policy: Nullable(Type.Object({}, { additionalProperties: true })),
  nonce: Nullable(Type.String()),
  bound: Nullable(Type.String({ description: "Hex of what the evidence had to bind" })),
  key_name: Nullable(Type.String()),
  evidence: Type.Optional(Type.String({ description: "Base64 of the bytes that were judged; not in lists" })),
  beside: Type.Optional(Type.Array(Type.String())),
  keys: Type.Optional(
    Type.Object(
      { sealing: Type.String(), tls: Type.String() },
      {
        description:
          "Base64, of the machine that was asked: its X25519 key and the SubjectPublicKeyInfo of its TLS key. Evidence for `seal` binds both, for `report` the second",
      },
    ),
  ),
  manifest: Type.Optional(
    Type.String({ description: "Base64 of the launch manifest of the machine that was asked" }),
  ),
  created_at: Instant,
  judged_at: Instant,
});

const base = { surface: "platform", access: "account", tag: "Attestations" } as const;
const ID = { id: Type.String({ maxLength: 64 }) };

export const createAttestation = operation({
  ...base,
  id: "platform.attestations.create",
  method: "POST",
  path: "/platform/v1/attestations",
  summary: "Challenge a machine, or have evidence judged that you bring",
  description:
    "With `workload_id` its machine is asked now, and held to the launch that it should be; `nonce` is yours, or ours when you give none. With `evidence` the bytes are judged under your policy, now.",
  body: Type.Object(
    {
      workload_id: Type.Optional(Type.String({ maxLength: 64 })),
      nonce: Type.Optional(Hex(16, 64)),
      purpose: Type.Optional(
        Type.Enum(["report", "seal"], { description: "seal: before you seal something to its key" }),
      ),
      evidence: Type.Optional(Base64),
      beside: Type.Optional(Type.Array(Base64, { maxItems: 64 })),
      policy: Type.Optional(Type.Object({}, { additionalProperties: true })),
      bound: Type.Optional(Hex(1, 64)),
      key_name: Type.Optional(Hex(34, 34)),
    },
    { additionalProperties: false },
  ),
  bodyLimit: 3 * MEBIBYTE,
  responses: { 201: { description: "The verdict, whatever it is", schema: Attestation } },
  errors: [
    "identity.unauthorized",
    "request.invalid",
    "workload.not-found",
    "machine.not-running",
    "machine.not-attested",
    "host.away",
    "attestation.limit",
    "limits.rate",
  ],
  idempotent: true,
  example: { body: { evidence: "e30=" } },
});

export const listAttestations = operation({
  ...base,
  id: "platform.attestations.list",
  method: "GET",
  path: "/platform/v1/attestations",
  summary: "Verdicts, newest first",
  query: Type.Object({
    ...Page,
    workload_id: Type.Optional(Type.String({ maxLength: 64 })),
    accepted: Type.Optional(Type.Enum(["true", "false"])),
  }),
  responses: {
    200: {
      description: "One page",
      schema: Type.Object({ attestations: Type.Array(Attestation), next_cursor: Nullable(Type.String()) }),
    },
  },
  errors: ["identity.unauthorized", "request.invalid", "limits.rate"],
});

export const getAttestation = operation({
  ...base,
  id: "platform.attestations.get",
  method: "GET",
  path: "/platform/v1/attestations/:id",
  summary: "One verdict with the evidence, to be judged by somebody else",
  params: Type.Object(ID),
  responses: { 200: { description: "The verdict", schema: Attestation } },
  errors: ["identity.unauthorized", "attestation.not-found", "limits.rate"],
});

export const deleteAttestation = operation({
  ...base,
  id: "platform.attestations.delete",
  method: "DELETE",
  path: "/platform/v1/attestations/:id",
  summary: "Delete a verdict on evidence that you brought",
  description: "What the journal says of it stays. A verdict on a machine of yours is kept.",
  params: Type.Object(ID),
  responses: { 204: { description: "Deleted" } },
  errors: ["identity.unauthorized", "attestation.not-found", "attestation.kept", "limits.rate"],
});

export const Revocation = Type.Object({ value: Type.String(), reason: Type.String(), revoked_at: Instant });

const operator = { surface: "platform", access: "admin", tag: "Attestations" } as const;

export const revokeReference = operation({
  ...operator,
  id: "platform.revocations.create",
  method: "POST",
  path: "/platform/v1/revocations",
  summary: "Let no evidence rest on this any more",
  description:
    "`value` is the SHA-256 of a certificate or of its key, a reference value (a register, a launch measurement), an image's or a launch's hash. Verdicts that rest on it are judged again at once, and their accounts are told.",
  body: Type.Object({ value: Hex(20, 64), reason: Type.String({ minLength: 1, maxLength: 200 }) }),
  responses: {
    201: {
      description: "Revoked",
      schema: Type.Object({ ...Revocation.properties, verdicts_lost: Type.Integer({ minimum: 0 }) }),
    },
  },
  errors: ["identity.unauthorized", "request.invalid"],
  example: { body: { value: "0".repeat(64), reason: "an example" } },
});

export const listRevocations = operation({
  ...operator,
  id: "platform.revocations.list",
  method: "GET",
  path: "/platform/v1/revocations",
  summary: "What was revoked, newest first",
  responses: { 200: { description: "Revocations", schema: Type.Array(Revocation) } },
  errors: ["identity.unauthorized"],
});
