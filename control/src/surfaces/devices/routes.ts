// SPDX-License-Identifier: Apache-2.0
import * as devicesContract from "#contract/devices/devices.ts";
import * as enrolmentContract from "#contract/devices/enrolment.ts";
import * as eventsContract from "#contract/devices/events.ts";
import * as groupsContract from "#contract/devices/groups.ts";
import { getDeviceModel } from "#contract/devices/models.ts";
import * as pipelinesContract from "#contract/devices/pipelines.ts";
import * as rolloutsContract from "#contract/devices/rollouts.ts";
import * as serversContract from "#contract/devices/servers.ts";
import * as systemsContract from "#contract/devices/systems.ts";
import * as telemetryContract from "#contract/devices/telemetry.ts";
import { type Route, route } from "../../http/call.ts";
import type { DevicesDeps } from "./deps.ts";
import * as devices from "./devices.ts";
import * as enrolment from "./enrolment.ts";
import * as events from "./events.ts";
import * as groups from "./groups.ts";
import * as nxModels from "./nx-models.ts";
import * as pipelines from "./pipelines.ts";
import * as rollouts from "./rollouts.ts";
import * as servers from "./servers.ts";
import * as state from "./state.ts";
import * as systems from "./systems.ts";
import * as telemetry from "./telemetry.ts";

const { OTHER_SPELLINGS: other } = devicesContract;

export const devicesRoutes = (deps: DevicesDeps): Route[] => [
  route(systemsContract.listSystems, (call) => systems.list(deps, call)),
  route(systemsContract.createSystem, (call) => systems.create(deps, call)),
  route(systemsContract.getSystem, (call) => systems.get(deps, call)),
  route(systemsContract.patchSystem, (call) => systems.change(deps, call)),
  route(systemsContract.deleteSystem, (call) => systems.remove(deps, call)),
  route(enrolmentContract.createToken, (call) => enrolment.createToken(deps, call)),
  route(enrolmentContract.listTokens, (call) => enrolment.listTokens(deps, call)),
  route(enrolmentContract.deleteToken, (call) => enrolment.deleteToken(deps, call)),
  route(enrolmentContract.register, (call) => enrolment.register(deps, call)),
  route(enrolmentContract.pollClaim, (call) => enrolment.poll(deps, call)),
  route(enrolmentContract.listClaims, (call) => enrolment.listClaims(deps, call)),
  route(enrolmentContract.approveClaim, (call) => enrolment.approve(deps, call)),
  route(serversContract.listServers, (call) => servers.list(deps, call)),
  route(serversContract.getServer, (call) => servers.get(deps, call)),
  route(serversContract.patchServer, (call) => servers.change(deps, call)),
  route(serversContract.deleteServer, (call) => servers.remove(deps, call)),
  route(serversContract.selectRuntime, (call) => servers.selectRuntime(deps, call)),
  route(serversContract.getState, (call) => state.getState(deps, call)),
  route(serversContract.putReported, (call) => state.putReported(deps, call)),
  route(getDeviceModel, (call) => nxModels.get(deps, call)),
  route(serversContract.putOwnDevice, (call) => devices.putOwn(deps, call)),
  route(devicesContract.listDevices, (call) => devices.list(deps, call)),
  route(devicesContract.listSystemDevices, (call) => devices.listOfSystem(deps, call)),
  route(devicesContract.createDevice, (call) => devices.create(deps, call)),
  route(devicesContract.statistics, (call) => devices.statistics(deps, call)),
  ...[devicesContract.getDevice, other.getDevice].map((one) => route(one, (call) => devices.get(deps, call))),
  ...[devicesContract.patchDevice, other.patchDevice].map((one) =>
    route(one, (call) => devices.change(deps, call)),
  ),
  ...[devicesContract.deleteDevice, other.deleteDevice].map((one) =>
    route(one, (call) => devices.remove(deps, call)),
  ),
  route(pipelinesContract.getPipelines, (call) => pipelines.get(deps, call)),
  route(pipelinesContract.putPipelines, (call) => pipelines.put(deps, call)),
  route(pipelinesContract.addPipelines, (call) => pipelines.add(deps, call)),
  route(pipelinesContract.removePipeline, (call) => pipelines.remove(deps, call)),
  route(pipelinesContract.addFunctions, (call) => pipelines.addFunctions(deps, call)),
  route(pipelinesContract.clonePipelines, (call) => pipelines.clone(deps, call)),
  route(pipelinesContract.assignPipelines, (call) => pipelines.assign(deps, call)),
  route(pipelinesContract.listHistory, (call) => pipelines.history(deps, call)),
  route(pipelinesContract.rollBack, (call) => pipelines.rollBack(deps, call)),
  route(rolloutsContract.createRollout, (call) => rollouts.create(deps, call)),
  route(rolloutsContract.listRollouts, (call) => rollouts.list(deps, call)),
  route(rolloutsContract.getRollout, (call) => rollouts.get(deps, call)),
  route(rolloutsContract.listRolloutDevices, (call) => rollouts.listDevices(deps, call)),
  route(rolloutsContract.patchRollout, (call) => rollouts.act(deps, call)),
  route(eventsContract.streamEvents, (call) => events.stream(deps, call)),
  route(eventsContract.listAudit, (call) => events.audit(deps, call)),
  route(telemetryContract.putTelemetry, (call) => telemetry.put(deps, call)),
  route(telemetryContract.listDeviceTelemetry, (call) => telemetry.ofDevice(deps, call)),
  route(telemetryContract.listServerTelemetry, (call) => telemetry.ofServer(deps, call)),
  route(serversContract.getOwnArtifact, (call) => state.getArtifact(deps, call)),
  route(groupsContract.listGroups, (call) => groups.list(deps, call)),
  route(groupsContract.createGroup, (call) => groups.create(deps, call)),
  route(groupsContract.getGroup, (call) => groups.get(deps, call)),
  route(groupsContract.patchGroup, (call) => groups.change(deps, call)),
  route(groupsContract.deleteGroup, (call) => groups.remove(deps, call)),
  route(groupsContract.addToGroup, (call) => groups.addDevices(deps, call)),
  route(groupsContract.removeFromGroup, (call) => groups.removeDevice(deps, call)),
];
