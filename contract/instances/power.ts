// SPDX-License-Identifier: Apache-2.0
/** Stop, start, restart, and another key. None of it is in the seed: an instance stays `ready`, and `power` says what its machine does. */
import { Type } from "typebox";
import { operation } from "../operation.ts";
import { enveloped, Instance, InstanceParams } from "./vocabulary.ts";

const base = {
  surface: "instances",
  method: "POST",
  access: "key",
  scope: "instances:write",
  tag: "Power of instances",
  params: InstanceParams,
  responses: { 202: { description: "The instance, as it is now", schema: enveloped(Instance) } },
} as const;
const ANY_CALL = [
  ...["identity.unauthorized", "identity.forbidden", "limits.rate"],
  ...["instance.not-found", "instance.not-ready"],
] as const;

export const stopInstance = operation({
  ...base,
  id: "instances.stop",
  path: "/v1/instances/:name/stop",
  summary: "Stop an instance",
  description:
    "Hours are not counted from here on, and its disk, name and address stay. Again without effect. Follow it with `wait=stopped`.",
  errors: ANY_CALL,
});

export const startInstance = operation({
  ...base,
  id: "instances.start",
  path: "/v1/instances/:name/start",
  summary: "Start an instance that is stopped",
  description:
    "Hours are counted again when its machine has shown anew what it is. One that runs, or is starting, stays as it is. Follow it with `wait=running`.",
  errors: [...ANY_CALL, "fleet.no-capacity"],
});

export const restartInstance = operation({
  ...base,
  id: "instances.restart",
  path: "/v1/instances/:name/restart",
  summary: "Restart an instance",
  description: "One that is stopped is started. Each call is a restart of its own.",
  errors: [...ANY_CALL, "fleet.no-capacity"],
});

export const replacePublicKey = operation({
  ...base,
  id: "instances.replaceKey",
  method: "PUT",
  path: "/v1/instances/:name/public_key",
  summary: "Replace the key that may log in",
  description:
    "A machine that runs is told at once: nobody is shown where it is (`ssh` is null) until it has shown evidence that it lets in the new key alone, and then `public_key_applied` is true. Who is logged in stays so. One that is stopped has it with its next start.",
  body: Type.Object({
    public_key: Type.String({ maxLength: 8192, description: "One OpenSSH public key, as for a create" }),
  }),
  errors: [...ANY_CALL, "request.invalid", "instance.public-key"],
  example: { body: { public_key: "ssh-ed25519 AAAA… user@example" } },
});
