// SPDX-License-Identifier: Apache-2.0
/** Instances: made, looked at, ended. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { WAIT } from "../waiting.ts";
import {
  AGENTS,
  CreatedInstance,
  enveloped,
  Instance,
  InstanceParams,
  InstanceStatus,
  Nullable,
} from "./vocabulary.ts";

const ANY_CALL = ["identity.unauthorized", "identity.forbidden", "limits.rate"] as const;

export const createInstance = operation({
  id: "instances.create",
  surface: "instances",
  method: "POST",
  path: "/v1/instances",
  access: "key",
  scope: "instances:write",
  tag: "Instances",
  summary: "Create an instance",
  description:
    "Answered at once; follow it with GET until `status` is `ready`. With an Idempotency-Key a retry within 24 hours is answered with the first result.",
  body: Type.Object({
    public_key: Type.String({
      maxLength: 8192,
      description: "One OpenSSH public key: ssh-ed25519 or ecdsa-sha2-nistp256, -384, -521",
    }),
    agent: Type.Optional(Type.String({ maxLength: 64, description: AGENTS.join(", ") })),
    inference_mode: Type.Optional(Type.String({ maxLength: 64 })),
    inference_model: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
    custom_inference_endpoint: Type.Optional(
      Type.String({
        maxLength: 2048,
        description: "With inference_mode custom, where the installation takes it",
      }),
    ),
    custom_inference_api_key: Type.Optional(
      Type.String({ maxLength: 4096, description: "With inference_mode custom; never shown again" }),
    ),
    custom_inference_model_name: Type.Optional(
      Type.String({ maxLength: 2048, description: "With inference_mode custom" }),
    ),
  }),
  responses: { 202: { description: "It is being provisioned", schema: enveloped(CreatedInstance) } },
  errors: [
    ...ANY_CALL,
    "request.invalid",
    "instance.public-key",
    "idempotency.mismatch",
    "idempotency.in-flight",
    "fleet.no-capacity",
    "instance.no-tenant",
  ],
  idempotent: true,
  example: { body: { public_key: "ssh-ed25519 AAAA… user@example", agent: "none" } },
});

export const listInstances = operation({
  id: "instances.list",
  surface: "instances",
  method: "GET",
  path: "/v1/instances",
  access: "key",
  scope: "instances:read",
  tag: "Instances",
  summary: "List instances, newest first",
  description: "Terminated ones included, for as long as their names are reserved.",
  query: Type.Object({
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
    cursor: Type.Optional(Type.String({ maxLength: 256 })),
    status: Type.Optional(InstanceStatus),
    agent: Type.Optional(Type.String({ maxLength: 64 })),
  }),
  responses: {
    200: {
      description: "One page",
      schema: enveloped(
        Type.Object({ instances: Type.Array(Instance), next_cursor: Nullable(Type.String()) }),
      ),
    },
  },
  errors: [...ANY_CALL, "request.invalid"],
});

export const getInstance = operation({
  id: "instances.get",
  surface: "instances",
  method: "GET",
  path: "/v1/instances/:name",
  access: "key",
  scope: "instances:read",
  tag: "Instances",
  summary: "Retrieve an instance",
  description:
    "Carries a strong ETag of the record; If-None-Match answers 304. `wait=ready` waits until it is; `power` can be waited for in the same way.",
  params: InstanceParams,
  query: Type.Object(WAIT),
  responses: { 200: { description: "The instance", schema: enveloped(Instance) } },
  errors: [...ANY_CALL, "instance.not-found", "request.invalid"],
});

export const deleteInstance = operation({
  id: "instances.delete",
  surface: "instances",
  method: "DELETE",
  path: "/v1/instances/:name",
  access: "key",
  scope: "instances:write",
  tag: "Instances",
  summary: "Delete an instance",
  description: "In any state, and again without effect: the first reason and time stay.",
  params: InstanceParams,
  responses: { 202: { description: "The instance, as it is now", schema: enveloped(Instance) } },
  errors: [...ANY_CALL, "instance.not-found"],
});
