// SPDX-License-Identifier: Apache-2.0
/** The whole surface at a glance: every operation and the function that answers it. */
import { createInstance, deleteInstance, getInstance, listInstances } from "#contract/instances/instances.ts";
import {
  instanceAttestation,
  instanceEvents,
  instanceLogs,
  instanceMetrics,
} from "#contract/instances/observed.ts";
import { replacePublicKey, restartInstance, startInstance, stopInstance } from "#contract/instances/power.ts";
import { getDailyUsage, getInstanceUsage, getUsage } from "#contract/instances/usage.ts";
import { type Route, route } from "../../http/call.ts";
import { create } from "./create.ts";
import type { Deps } from "./deps.ts";
import { remove } from "./end.ts";
import { attestation, events, logs, metrics } from "./observed.ts";
import { restart, start, stop } from "./power.ts";
import { list, read, readAhead } from "./read.ts";
import { replaceKey } from "./replace-key.ts";
import { dailyUsage, instanceUsage, usage } from "./usage.ts";

export function instanceRoutes(deps: Deps): Route[] {
  return [
    route(createInstance, (call) => create(deps, call)),
    route(listInstances, (call) => list(deps, call)),
    route(
      getInstance,
      (call) => read(deps, call),
      (params) => readAhead(deps, params),
    ),
    route(deleteInstance, (call) => remove(deps, call)),
    route(stopInstance, (call) => stop(deps, call)),
    route(startInstance, (call) => start(deps, call)),
    route(restartInstance, (call) => restart(deps, call)),
    route(replacePublicKey, (call) => replaceKey(deps, call)),
    route(getUsage, (call) => usage(deps, call)),
    route(getDailyUsage, (call) => dailyUsage(deps, call)),
    route(getInstanceUsage, (call) => instanceUsage(deps, call)),
    route(instanceEvents, (call) => events(deps, call)),
    route(instanceLogs, (call) => logs(deps, call)),
    route(instanceMetrics, (call) => metrics(deps, call)),
    route(instanceAttestation, (call) => attestation(deps, call)),
  ];
}
