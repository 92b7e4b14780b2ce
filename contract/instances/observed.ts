// SPDX-License-Identifier: Apache-2.0
/** What an instance is doing, and how it showed what it is. None of it is in the seed. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { enveloped, InstanceParams } from "./vocabulary.ts";

const base = {
  surface: "instances",
  method: "GET",
  access: "key",
  scope: "instances:read",
  tag: "Looking at instances",
  params: InstanceParams,
} as const;
const ANY_CALL = [
  "identity.unauthorized",
  "identity.forbidden",
  "limits.rate",
  "instance.not-found",
] as const;
const AWAY = ["machine.not-running", "host.away", "link.lost"] as const;

export const instanceEvents = operation({
  ...base,
  id: "instances.events",
  path: "/v1/instances/:name/events",
  summary: "Follow what happens to an instance (SSE)",
  description:
    "`id:` is the sequence; resume with Last-Event-ID. The stream closes with the event `end`. The same comes by webhook (`/platform/v1/webhooks`).",
  responses: { 200: { description: "Server-sent events", mediaType: "text/event-stream" } },
  errors: [...ANY_CALL, "session.gone-events", "request.invalid"],
});

export const instanceLogs = operation({
  ...base,
  id: "instances.logs",
  path: "/v1/instances/:name/logs",
  summary: "The machine's own log: its starts, progress and faults",
  description: "With `follow=1` an event stream of lines. What is written inside is read inside.",
  query: Type.Object({
    tail: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, description: "Newest lines; 100 unless given" }),
    ),
    follow: Type.Optional(Type.Enum(["0", "1"])),
  }),
  responses: {
    200: { description: "Lines", schema: enveloped(Type.Object({ lines: Type.Array(Type.String()) })) },
  },
  errors: [...ANY_CALL, ...AWAY],
});

export const instanceMetrics = operation({
  ...base,
  id: "instances.metrics",
  path: "/v1/instances/:name/metrics",
  summary: "Memory, cpus and disks, now",
  responses: {
    200: {
      description: "Figures; sizes in bytes, usage in percent of one cpu",
      schema: enveloped(
        Type.Object({
          memory: Type.Object({ total_bytes: Type.Number(), used_bytes: Type.Number() }),
          cpus: Type.Array(Type.Object({ name: Type.String(), usage_percent: Type.Number() })),
          disks: Type.Array(
            Type.Object({
              ...{ name: Type.String(), mount_point: Type.String(), filesystem: Type.String() },
              ...{ size_bytes: Type.Number(), used_bytes: Type.Number() },
            }),
          ),
        }),
      ),
    },
  },
  errors: [...ANY_CALL, ...AWAY],
});

const Step = Type.Object({ name: Type.String(), ok: Type.Boolean(), detail: Type.String() });

export const instanceAttestation = operation({
  ...base,
  id: "instances.attestation",
  path: "/v1/instances/:name/attestation",
  summary: "The verdicts on its machine, newest first",
  description:
    "`seal`: before it was told who may log in. `login`: of the keys that its SSH server shows. Everything that a verdict was made of is at `/platform/v1/attestations/<id>`. A `vm` and a `container` have none: nothing but their host vouches for them, and `note` says so.",
  responses: {
    200: {
      description: "Verdicts",
      schema: enveloped(
        Type.Object({
          isolation: Type.String(),
          note: Type.Union([Type.String(), Type.Null()], {
            description: "What is to be known where there is no evidence: the host is trusted",
          }),
          hardware: Type.Boolean({ description: "Of the newest verdict: evidence of a processor" }),
          image_sha256: Type.String({ description: "Of the image's metadata: /guest-images/<sha256>" }),
          launch_sha256: Type.String({
            description: "On the measured command line; the same for every instance of the agent",
          }),
          verdicts: Type.Array(
            Type.Object({
              id: Type.String(),
              purpose: Type.String(),
              platform: Type.Union([Type.String(), Type.Null()]),
              accepted: Type.Boolean(),
              hardware: Type.Boolean(),
              steps: Type.Array(Step),
              created_at: Type.String(),
            }),
          ),
        }),
      ),
    },
  },
  errors: ANY_CALL,
});
