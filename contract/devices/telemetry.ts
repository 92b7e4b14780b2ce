// SPDX-License-Identifier: Apache-2.0
/** Telemetry: what servers count of themselves and of their devices, a sample for each interval of time. */
import { Type } from "typebox";
import { Paging, TOKEN_ERRORS } from "../identity/vocabulary.ts";
import { operation } from "../operation.ts";
import { PIPELINES_MAX } from "./pipelines.ts";
import { Instant, nullable, OfItem, Uuid } from "./vocabulary.ts";

const closed = { additionalProperties: false } as const;
const Count = Type.Integer({ minimum: 0, maximum: 1_000_000_000 });
const Milliseconds = Type.Number({ minimum: 0, maximum: 1e12 });
const Latency = Type.Optional(Type.Number({ minimum: 0, maximum: 1e9 }));

const pipeline = {
  UUID: Uuid,
  Frames: Count,
  Detections: Count,
  Inferences: Type.Optional({
    ...Count,
    description: "Runs of its model and of those chained to it; Frames unless given",
  }),
  LatencyP50: Latency,
  LatencyP95: Latency,
};
const agent = {
  UptimeSeconds: Type.Optional(Count),
  MemoryMiB: Type.Optional(Count),
  /** Of one core. */
  CPUPercent: Type.Optional(Type.Number({ minimum: 0, maximum: 1e6 })),
  MachineMemoryFreeMiB: Type.Optional(Count),
  Temperature: Type.Optional(
    Type.Number({
      minimum: -100,
      maximum: 300,
      description: "Degrees Celsius where the machine is hottest; absent where none is measured",
    }),
  ),
};

export const SampleGiven = Type.Object(
  {
    Sequence: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    AgeMs: { ...Milliseconds, description: "How long ago it ended; the server's clock need not be right" },
    DurationMs: Milliseconds,
    Dropped: Type.Optional({ ...Count, description: "Samples that were given up before this one" }),
    Agent: Type.Optional(Type.Object(agent, closed)),
    Devices: Type.Array(
      Type.Object(
        {
          UUID: Uuid,
          Frames: { ...Count, description: "That were looked at, well or not" },
          Errors: { ...Count, description: "That could not be looked at" },
          Dropped: Type.Optional({
            ...Count,
            description: "Pictures that were given up unseen, since newer ones came",
          }),
          QueueDepth: Type.Optional({ ...Count, description: "The most that waited at once" }),
          LatencyP50: Latency,
          LatencyP95: Latency,
          Pipelines: Type.Array(Type.Object(pipeline, closed), { maxItems: PIPELINES_MAX }),
        },
        closed,
      ),
      { maxItems: 1000 },
    ),
  },
  closed,
);

const own = { surface: "devices", access: "server", tag: "Edge" } as const;

export const putTelemetry = operation({
  ...own,
  id: "devices.telemetry.put",
  method: "POST",
  path: "/dev/server/:id/telemetry",
  summary: "Samples of what a server counted, the oldest first",
  description:
    "What is told again under the same Sequence is kept once. Of one interval (`devices.telemetryEveryMs`) one sample is kept. Those that are older than is kept, and devices that are not the server's, are passed over.",
  params: OfItem,
  bodyLimit: 4 * 1024 * 1024,
  body: Type.Object({ Samples: Type.Array(SampleGiven, { maxItems: 60 }) }, closed),
  responses: {
    200: {
      description: "How many of them were new",
      schema: Type.Object({ Accepted: Type.Integer() }),
    },
  },
  errors: ["identity.token", "server.not-found", "request.invalid", "limits.rate"],
});

const Time = (description: string) =>
  Type.Optional(
    Type.String({
      description,
      pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,9})?(Z|[+-]\\d{2}:\\d{2})$",
    }),
  );
const Range = Type.Object({
  ...Paging,
  From: Time("Ended at this time or later; RFC 3339"),
  To: Time("Ended before this time"),
});
const span = { Sequence: Type.Integer(), From: Instant, To: Instant };
const OrNull = nullable(Type.Number());

export const listDeviceTelemetry = operation({
  ...{ surface: "devices", access: "bearer", scope: "devices:read", tag: "Telemetry" },
  id: "devices.telemetry.device",
  method: "GET",
  path: "/dev/device/:id/telemetry",
  summary: "What was counted of a device, newest first",
  description:
    "Latencies are milliseconds of looking at one frame. CPU (percent of one core), Memory (MiB) and Temperature (degrees Celsius) are those of its server in that time. What was not measured is null.",
  params: OfItem,
  query: Range,
  responses: {
    200: {
      description: "Samples",
      schema: Type.Array(
        Type.Object({
          ...span,
          Frames: Type.Integer(),
          Errors: Type.Integer(),
          Detections: Type.Integer(),
          Inferences: OrNull,
          Dropped: OrNull,
          QueueDepth: OrNull,
          LatencyP50: OrNull,
          LatencyP95: OrNull,
          CPU: OrNull,
          Memory: OrNull,
          Temperature: OrNull,
          Pipelines: Type.Array(Type.Object(pipeline)),
        }),
      ),
    },
  },
  errors: [...TOKEN_ERRORS, "device.not-found"],
});

export const listServerTelemetry = operation({
  ...{ surface: "devices", access: "bearer", scope: "devices:health", tag: "Telemetry" },
  id: "devices.telemetry.server",
  method: "GET",
  path: "/dev/server/:id/telemetry",
  summary: "How a server is, newest first; nothing of what its devices see",
  params: OfItem,
  query: Range,
  responses: {
    200: {
      description: "Samples",
      schema: Type.Array(
        Type.Object({
          ...span,
          ReceivedAt: Instant,
          Dropped: Type.Integer({ description: "Samples that the server gave up before this one" }),
          Agent: Type.Object(agent),
        }),
      ),
    },
  },
  errors: [...TOKEN_ERRORS, "server.not-found"],
});
