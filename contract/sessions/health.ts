// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { Instant } from "./vocabulary.ts";

export const health = operation({
  id: "sessions.health",
  surface: "sessions",
  method: "GET",
  path: "/v1/health",
  access: "public",
  tag: "Health",
  summary: "Health, by real probes",
  description: "Always 200; `/readyz` is for load balancers.",
  responses: {
    200: {
      description: "The state of the service",
      schema: Type.Object({
        status: Type.Enum(["healthy", "degraded"]),
        engines: Type.Object({
          eee: Type.Boolean({ description: "A sandbox can be created and destroyed" }),
          dire: Type.Boolean({ description: "The signer signs and verifies" }),
          rzl: Type.Boolean({ description: "The event chain holds" }),
          fgx: Type.Boolean({ description: "The prober can read the process and mount tables" }),
          ave: Type.Boolean({ description: "A known-good proof verifies and a known-bad one does not" }),
        }),
        database: Type.Boolean(),
        uptime_seconds: Type.Integer(),
        timestamp: Instant,
        isolation: Type.Optional(
          Type.Array(
            Type.Object({
              class: Type.String(),
              ready: Type.Boolean(),
              limits: Type.String({ description: "cgroup v2, v1, or rlimits" }),
              missing: Type.Union([Type.String(), Type.Null()]),
            }),
          ),
        ),
      }),
    },
  },
});
