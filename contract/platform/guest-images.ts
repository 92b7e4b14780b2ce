// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { operation } from "../operation.ts";

export const listGuestImages = operation({
  id: "platform.guest-images.list",
  surface: "platform",
  access: "admin",
  tag: "Attestations",
  method: "GET",
  path: "/platform/v1/guest-images",
  summary: "Guest images that workloads are started from, or that their owners approved",
  description:
    "Stopped workloads included, deleted ones not. `casemate images prune` asks it before it removes images of former builds.",
  responses: {
    200: {
      description: "By the hash of their metadata",
      schema: Type.Object({
        images: Type.Array(Type.Object({ sha256: Type.String(), workloads: Type.Integer() })),
      }),
    },
  },
  errors: ["identity.unauthorized"],
});
