// SPDX-License-Identifier: Apache-2.0
/** The whole instances surface, in the order of its documentation. */
import type { Operation } from "../operation.ts";
import { createInstance, deleteInstance, getInstance, listInstances } from "./instances.ts";
import { instanceAttestation, instanceEvents, instanceLogs, instanceMetrics } from "./observed.ts";
import { replacePublicKey, restartInstance, startInstance, stopInstance } from "./power.ts";
import { getDailyUsage, getInstanceUsage, getUsage } from "./usage.ts";

export const INSTANCES: readonly Operation[] = [
  ...[createInstance, listInstances, getInstance, deleteInstance],
  ...[stopInstance, startInstance, restartInstance, replacePublicKey],
  ...[getUsage, getDailyUsage, getInstanceUsage],
  ...[instanceEvents, instanceLogs, instanceMetrics, instanceAttestation],
];
