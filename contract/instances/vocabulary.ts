// SPDX-License-Identifier: Apache-2.0
/** Words of the instances surface that more than one operation uses. Sources: the instances seed, its contract. */
import { type TSchema, Type } from "typebox";

/** UTC to the second, as the seed writes it. */
export const Instant = Type.String({
  description: "ISO 8601, UTC, to the second",
  pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$",
});
export const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

export const STATUSES = ["provisioning", "ready", "failed", "terminating", "terminated"] as const;
export const InstanceStatus = Type.Enum([...STATUSES]);

/** What the machine of one that is ready does: not in the seed, whose five stay as they are. */
export const POWERS = ["running", "stopping", "stopped", "starting"] as const;

/** Why one was not provisioned: all that there is. */
export const FAILURE_CODES = [
  "no_capacity",
  "image_unavailable",
  "boot_timeout",
  "agent_setup_failed",
  "attestation_failed",
  "host_lost",
  "internal",
] as const;
export const TERMINATED_REASONS = [
  "deleted_via_api",
  "egress_limit",
  "unpaid",
  "host_lost",
  "expired",
] as const;

/** Packages that are known; whether one can run here is said when it is asked for. */
export const AGENTS = ["openclaw", "none"] as const;
export const INFERENCE_MODES = ["default_gateway"] as const;
/** Where the installation takes models of a tenant's own (`instances.dialect.customInference`). */
export const INFERENCE_MODES_CUSTOM = [...INFERENCE_MODES, "custom"] as const;

/** How the machine is reached, as soon as it is: not in the seed. */
export const SshAddress = Type.Object({
  address: Type.String(),
  port: Type.Integer(),
  user: Type.String(),
  known_hosts: Type.Array(Type.String(), {
    description: "Lines for ssh's known_hosts: the keys that the machine made inside",
  }),
});

const Took = (description: string) =>
  Type.Union([Type.Integer({ minimum: 0 }), Type.Null()], { description: `Milliseconds ${description}` });

/** How long its last start took, stage by stage, each since the one before: not in the seed. */
export const Timings = Type.Object({
  queued_ms: Took("from the wish until its host began"),
  booted_ms: Took("until its machine was up and waited for its claim"),
  attested_ms: Took("until its evidence was accepted"),
  claimed_ms: Took("until it was told, sealed, whose it is"),
  ready_ms: Took("until SSH answered and evidence of its keys was accepted"),
  total_ms: Took("of all of them"),
});

/** The members of the seed's answer to a create, in its order. */
const CREATED = {
  name: Type.String(),
  status: InstanceStatus,
  agent: Type.String(),
  hostname: Type.String(),
  public_key: Type.String(),
  inference_mode: Type.String(),
  inference_model: Type.Optional(Type.String()),
  egress_limit_bytes: Type.Integer(),
};

export const CreatedInstance = Type.Object(
  { ...CREATED, created_at: Instant },
  { additionalProperties: false },
);

export const Instance = Type.Object(
  {
    ...CREATED,
    public_key: Type.Optional(
      Type.String({ description: "Left out of lists where the installation is set so" }),
    ),
    inference_model: Nullable(Type.String()),
    failure_code: Nullable(Type.Enum([...FAILURE_CODES])),
    failure_message: Nullable(Type.String()),
    terminated_reason: Nullable(Type.Enum([...TERMINATED_REASONS])),
    created_at: Instant,
    ready_at: Nullable(Instant),
    terminated_at: Nullable(Instant),
    isolation: Type.String({ description: "What keeps it from others; not in the seed" }),
    ssh: Nullable(SshAddress),
    public_key_applied: Type.Boolean({
      description: "Its machine has shown that it lets in `public_key` and no other. Not in the seed",
    }),
    power: Nullable(
      Type.Enum([...POWERS], {
        description: "Of one that is `ready`: stopped ones stay so. Not in the seed",
      }),
    ),
    timings: Type.Union([Timings, Type.Null()], {
      description: "Of its last start, when it was through. Not in the seed",
    }),
    egress_bytes: Type.Integer({ minimum: 0, description: "Sent to the world in its life; not in the seed" }),
    egress_observed_at: Type.Union([Instant, Type.Null()], {
      description: "Null: its host does not count what it sends, or has not yet",
    }),
    egress_blocked: Type.Boolean({
      description:
        "It has reached its limit: of the world only SSH is left, slowly, and the gateway of models",
    }),
    egress_block_applied_at: Nullable(Instant),
    custom_inference_endpoint: Type.Optional(Type.String({ description: "With inference_mode custom" })),
    custom_inference_model_name: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
);

export const InstanceParams = Type.Object({ name: Type.String({ description: "As `4k9p2xq7`" }) });

/** Every answer with a body of this surface. */
export const enveloped = <T extends TSchema>(data: T) =>
  Type.Object({
    request_id: Type.String({ pattern: "^[0-9a-f]{32}$" }),
    correlation_id: Nullable(Type.String({ description: "X-Correlation-ID as it was sent" })),
    data,
  });

export const ErrorBody = Type.Object({
  request_id: Type.String({ pattern: "^[0-9a-f]{32}$" }),
  correlation_id: Nullable(Type.String()),
  error: Type.Object({
    code: Type.Enum([
      ...["invalid_request", "unauthenticated", "forbidden", "not_found", "conflict", "internal_error"],
      ...["method_not_allowed", "payload_too_large", "unsupported_media_type", "rate_limited", "unavailable"],
    ]),
    message: Type.String(),
    param: Type.Optional(Type.String()),
  }),
});
