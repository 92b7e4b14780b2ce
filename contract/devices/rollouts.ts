// SPDX-License-Identifier: Apache-2.0
/** Rollouts: one change of pipelines, brought to many devices in stages, watched, and taken back when it fails. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { WAIT } from "../waiting.ts";
import { PIPELINES_MAX, PipelineGiven } from "./pipelines.ts";
import { Instant, Name, nullable, OfItem, Reference, Uuid, Word } from "./vocabulary.ts";

export const ROLLOUT_DEVICES_MAX = 10_000;
export const ROLLOUT_STATUSES = [
  ...(["running", "paused", "rolling_back", "succeeded", "cancelled", "aborted", "rolled_back"] as const),
] as const;
export const ROLLOUT_DEVICE_STATUSES = [
  ...(["queued", "changing", "healthy", "failed", "timed_out", "overtaken", "gone", "skipped"] as const),
] as const;
export const ROLLOUT_ACTIONS = ["pause", "resume", "cancel", "rollback"] as const;

export const ABORT_KINDS = ["failed", "timed_out"] as const;

const closed = { additionalProperties: false } as const;
const few = <T extends Parameters<typeof Type.Array>[0]>(of: T) =>
  Type.Optional(Type.Array(of, { minItems: 1, maxItems: 1000 }));
const WEEK_S = 604_800;
const Count = Type.Integer({ minimum: 1, maximum: ROLLOUT_DEVICES_MAX });
const Percent = Type.Number({ exclusiveMinimum: 0, maximum: 100 });
const Bound = Type.Integer({ minimum: 0, maximum: ROLLOUT_DEVICES_MAX });
const HoldSeconds = Type.Optional(
  Type.Integer({
    minimum: 0,
    maximum: WEEK_S,
    description: "300 unless given: how long a stage is watched when all of it is well",
  }),
);

export const StageGiven = Type.Object(
  { Count: Type.Optional(Count), Percent: Type.Optional(Percent), HoldSeconds },
  {
    ...closed,
    description: "Count or Percent: how many of all devices have the change when the stage is over",
  },
);

export const AbortGiven = Type.Object(
  {
    Failures: Type.Optional({ ...Bound, description: "More failed devices than this" }),
    TimedOut: Type.Optional({ ...Bound, description: "More devices than this that did not report in time" }),
    FailurePercent: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 100,
        description: "A larger share than this of the changed devices, failed or timed out (Kinds)",
      }),
    ),
    ErrorPercent: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 100,
        description:
          "A larger share than this of frames of changed devices that could not be looked at since",
      }),
    ),
    MinFrames: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000_000_000,
        description: "ErrorPercent counts when so many frames were; 100 unless given",
      }),
    ),
    MinDevices: Type.Optional({
      ...Count,
      description: "Shares count when so many devices were changed; 1 unless given",
    }),
    Kinds: Type.Optional(
      Type.Array(Type.Enum([...ABORT_KINDS]), {
        minItems: 1,
        maxItems: ABORT_KINDS.length,
        uniqueItems: true,
        description:
          "What FailurePercent counts; both unless given. Without any bound it is of these that none may be",
      }),
    ),
  },
  closed,
);

const Counts = Type.Object({
  Total: Type.Integer(),
  Queued: Type.Integer(),
  InProgress: Type.Integer(),
  Succeeded: Type.Integer(),
  Failed: Type.Integer(),
  TimedOut: Type.Integer(),
  Overtaken: Type.Integer(),
  Skipped: Type.Integer(),
  RollingBack: Type.Integer(),
  RolledBack: Type.Integer(),
});

export const Rollout = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  Status: Type.Enum([...ROLLOUT_STATUSES]),
  Reason: nullable(Type.String({ description: "Why it was taken back or given up" })),
  Stage: Type.Integer({ description: "The one under way, from 0" }),
  Stages: Type.Array(
    Type.Object({ Devices: Type.Integer({ description: "In this stage" }), HoldSeconds: Type.Integer() }),
  ),
  Counts,
  Figures: nullable(
    Type.Object(
      { Frames: Type.Integer(), Errors: Type.Integer() },
      { description: "Of changed devices since, by their telemetry; with ErrorPercent only" },
    ),
  ),
  Change: Type.Union([
    Type.Object({ Pipelines: Type.Array(Type.Unknown()) }),
    Type.Object({ Replaces: Uuid, Function: Uuid, Version: Type.Integer() }),
  ]),
  Abort: AbortGiven,
  Rollback: Type.Boolean(),
  TimeoutSeconds: Type.Integer(),
  CreatedBy: Type.String(),
  CreatedAt: Instant,
  UpdatedAt: Instant,
  EndedAt: nullable(Instant),
});

export const RolloutDevice = Type.Object({
  Device: Type.Object({ UUID: Uuid, Name: Type.String() }),
  Server: nullable(Reference),
  Stage: nullable(Type.Integer()),
  Status: Type.Enum([...ROLLOUT_DEVICE_STATUSES]),
  Rollback: nullable(Type.Enum(["asked", "done", "unanswered"])),
  Error: nullable(Type.String()),
  VersionBefore: Type.Integer({ description: "PipelinesVersion that it had, and is taken back to" }),
  Version: nullable(Type.Integer({ description: "PipelinesVersion that it was given" })),
  VersionBack: nullable(Type.Integer({ description: "PipelinesVersion by which it was taken back" })),
  Since: Instant,
});

const reads = { surface: "devices", access: "bearer", scope: "devices:read", tag: "Rollouts" } as const;
const writes = { ...reads, scope: "devices:write" } as const;
const found = [...TOKEN_ERRORS, "rollout.not-found"] as const;

const Given = Type.Object(
  {
    Name: Type.Optional(Name),
    Pipelines: Type.Optional(
      Type.Array(PipelineGiven, {
        maxItems: PIPELINES_MAX,
        description: "All that each device is to run, in place of what it has",
      }),
    ),
    Function: Type.Optional({ ...Uuid, description: "Instead: only this model is brought, settings stay" }),
    Version: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
    Alias: Type.Optional(
      Type.String({ maxLength: 100, description: "Instead of Version; `default` when neither is given" }),
    ),
    Replaces: Type.Optional({ ...Uuid, description: "In whose place; Function itself unless given" }),
    Target: Type.Object(
      { Devices: few(Uuid), Groups: few(Uuid), Systems: few(Uuid), Tags: few(Word) },
      {
        ...closed,
        description:
          "What any of Devices, Groups and Systems names; with Tags only those that have one of them",
      },
    ),
    Stages: Type.Optional(Type.Array(StageGiven, { minItems: 1, maxItems: 20 })),
    Abort: Type.Optional(AbortGiven),
    Rollback: Type.Optional(
      Type.Boolean({ description: "true unless given: what fails is taken back by itself" }),
    ),
    TimeoutSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: WEEK_S,
        description: "600 unless given: until a device must have reported",
      }),
    ),
    Timeout: Type.Optional(
      Type.Integer({ minimum: 1, maximum: WEEK_S, description: "TimeoutSeconds under another name" }),
    ),
  },
  closed,
);

export const createRollout = operation({
  ...writes,
  id: "devices.rollouts.create",
  method: "POST",
  path: "/dev/rollouts",
  summary: "Bring a change of pipelines to many devices in stages",
  description:
    "The whole list of pipelines, or one model in place of another (a newer version of itself, unless Replaces says which). A device counts as well when its server has reported the change as taken over and healthy; as failed when the server's trial of it failed. Without Abort the first failure and the first silence take all devices back to what they ran before. Whoever changes a device by hand meanwhile takes it out of the rollout: it keeps what it was given by hand. Devices that cannot take the change are `skipped` and say why. A device is in one rollout at a time.",
  query: Type.Object({
    dryRun: Type.Optional(Type.Enum(["0", "1"], { description: "1: nothing is kept or changed" })),
  }),
  bodyLimit: 2 * 1024 * 1024,
  body: Given,
  responses: {
    200: {
      description: "What would be, of a dry run",
      schema: Type.Object({
        Stages: Type.Array(Type.Object({ Devices: Type.Array(Uuid), HoldSeconds: Type.Integer() })),
        Skipped: Type.Array(Type.Object({ Device: Uuid, Reason: Type.String() })),
      }),
    },
    201: { description: "The rollout", schema: Rollout },
  },
  errors: [
    ...TOKEN_ERRORS,
    ...(["device.not-found", "group.not-found", "site.not-found", "device.none-applicable"] as const),
    ...(["rollout.too-large", "rollout.overlaps", "rollout.too-many"] as const),
  ],
  idempotent: true,
  example: {
    body: {
      Name: "Things 2",
      Function: "00000000-0000-4000-8000-000000000001",
      Version: 2,
      Target: { Systems: ["00000000-0000-4000-8000-000000000002"] },
      Stages: [
        { Count: 1, HoldSeconds: 300 },
        { Percent: 25, HoldSeconds: 300 },
        { Percent: 100, HoldSeconds: 0 },
      ],
      Abort: { FailurePercent: 5, MinDevices: 5, TimedOut: 3 },
    },
  },
});

export const listRollouts = operation({
  ...reads,
  id: "devices.rollouts.list",
  method: "GET",
  path: "/dev/rollouts",
  summary: "Rollouts, newest first",
  query: Type.Object({ ...Paging, Status: Type.Optional(Type.Enum([...ROLLOUT_STATUSES])) }),
  responses: { 200: { description: "Rollouts", schema: Type.Array(Rollout) } },
  errors: TOKEN_ERRORS,
});

export const getRollout = operation({
  ...reads,
  id: "devices.rollouts.get",
  method: "GET",
  path: "/dev/rollout/:id",
  summary: "One rollout",
  params: OfItem,
  query: Type.Object(WAIT),
  responses: { 200: { description: "The rollout", schema: Rollout }, 304: { description: "As it was" } },
  errors: found,
});

export const listRolloutDevices = operation({
  ...reads,
  id: "devices.rollouts.devices",
  method: "GET",
  path: "/dev/rollout/:id/devices",
  summary: "How far each device of a rollout is, in the order of the stages",
  params: OfItem,
  query: Type.Object({ ...Paging, Status: Type.Optional(Type.Enum([...ROLLOUT_DEVICE_STATUSES])) }),
  responses: { 200: { description: "Devices", schema: Type.Array(RolloutDevice) } },
  errors: found,
});

export const patchRollout = operation({
  ...writes,
  id: "devices.rollouts.act",
  method: "PATCH",
  path: "/dev/rollout/:id",
  summary: "Pause, resume, cancel or take back a rollout",
  description:
    "`pause`: no further device is changed; those that were are watched on, and too many failures still take all back. `cancel`: it ends here, and devices keep what they have. `rollback`: every device that was changed gets what it ran before. Asking again for what is so already changes nothing.",
  params: OfItem,
  body: Type.Object({ Action: Type.Enum([...ROLLOUT_ACTIONS]) }, closed),
  responses: { 200: { description: "The rollout", schema: Rollout } },
  errors: [...found, "rollout.over", "request.precondition"],
  example: { body: { Action: "pause" } },
});
