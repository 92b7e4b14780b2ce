// SPDX-License-Identifier: Apache-2.0
/** Sites, servers, devices, groups, pipelines. */
import type { Operation } from "../operation.ts";
import * as devices from "./devices.ts";
import * as enrolment from "./enrolment.ts";
import { listAudit, streamEvents } from "./events.ts";
import * as groups from "./groups.ts";
import { getDeviceModel } from "./models.ts";
import {
  addFunctions,
  addPipelines,
  assignPipelines,
  clonePipelines,
  getPipelines,
  listHistory,
  putPipelines,
  removePipeline,
  rollBack,
} from "./pipelines.ts";
import { createRollout, getRollout, listRolloutDevices, listRollouts, patchRollout } from "./rollouts.ts";
import * as servers from "./servers.ts";
import * as systems from "./systems.ts";
import { listDeviceTelemetry, listServerTelemetry, putTelemetry } from "./telemetry.ts";

const { OTHER_SPELLINGS, ...ownSpelling } = devices;

export const DEVICES: readonly Operation[] = [
  ...Object.values(systems),
  ...Object.values(enrolment),
  ...Object.values(servers),
  getDeviceModel,
  ...Object.values(ownSpelling),
  ...Object.values(OTHER_SPELLINGS),
  ...Object.values(groups),
  ...[getPipelines, putPipelines, addPipelines, removePipeline, addFunctions],
  ...[clonePipelines, assignPipelines, listHistory, rollBack],
  ...[createRollout, listRollouts, getRollout, listRolloutDevices, patchRollout],
  ...[streamEvents, listAudit],
  ...[putTelemetry, listDeviceTelemetry, listServerTelemetry],
];
