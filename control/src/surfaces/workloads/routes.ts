// SPDX-License-Identifier: Apache-2.0
/** The whole surface at a glance: every operation and the function that answers it. */
import * as accountsContract from "#contract/workloads/accounts.ts";
import * as catalogueContract from "#contract/workloads/catalogue.ts";
import * as launchesContract from "#contract/workloads/launches.ts";
import * as metalContract from "#contract/workloads/metal.ts";
import * as workloadsContract from "#contract/workloads/workloads.ts";
import { type Route, route } from "../../http/call.ts";
import * as accounts from "./accounts.ts";
import * as actions from "./actions.ts";
import * as artifacts from "./artifacts.ts";
import { create } from "./create.ts";
import type { Deps } from "./deps.ts";
import { events } from "./events.ts";
import * as hosts from "./hosts.ts";
import * as keys from "./keys.ts";
import * as launches from "./launches.ts";
import * as metal from "./metal.ts";
import * as observed from "./observed.ts";
import { list, read, readAhead } from "./read.ts";
import * as sealedEnv from "./sealed-env.ts";
import * as tiers from "./tiers.ts";

export function workloadRoutes(deps: Deps): Route[] {
  const w = workloadsContract;
  const c = catalogueContract;
  const a = accountsContract;
  const m = metalContract;
  const l = launchesContract;
  return [
    route(
      w.createWorkload,
      (call) => create(deps, call),
      () => tiers.catalogueAhead(deps),
    ),
    route(w.listWorkloads, (call) => list(deps, call)),
    route(w.listWorkloadsByPost, (call) => list(deps, call)),
    route(
      w.getWorkload,
      (call) => read(deps, call),
      (params) => readAhead(deps, params),
    ),
    route(w.startWorkload, (call) => actions.start(deps, call)),
    route(w.stopWorkload, (call) => actions.stop(deps, call)),
    route(w.restartWorkload, (call) => actions.restart(deps, call)),
    route(w.updateWorkload, (call) => actions.update(deps, call)),
    route(w.deleteWorkload, (call) => actions.remove(deps, call)),
    route(w.workloadLogs, (call) => observed.logs(deps, call)),
    route(w.workloadStats, (call) => observed.stats(deps, call)),
    route(w.listContainers, (call) => observed.containers(deps, call)),
    route(w.containerLogs, (call) => observed.logsOfContainer(deps, call)),
    route(w.listEvents, (call) => events(deps, call)),
    route(w.caCertificate, (call) => hosts.ca(deps, call)),
    route(w.tpmRoots, () => hosts.tpmRoots(deps)),
    route(w.guestImage, (call) => hosts.guestImage(deps, call)),
    route(w.guestImageTransparency, (call) => hosts.guestImageTransparency(deps, call)),
    route(w.health, (call) => hosts.health(deps, call)),
    route(l.listLaunches, (call) => launches.list(deps, call)),
    route(l.giveSealedEnv, (call) => sealedEnv.give(deps, call)),
    route(l.approveLaunch, (call) => launches.approve(deps, call)),
    route(c.listTiers, (call) => tiers.list(deps, call)),
    route(c.createTier, (call) => tiers.create(deps, call)),
    route(c.updateTier, (call) => tiers.update(deps, call)),
    route(c.deleteTier, (call) => tiers.remove(deps, call)),
    route(c.listArtifacts, (call) => artifacts.list(deps, call)),
    route(c.enableArtifact, (call) => artifacts.enable(deps, call)),
    route(c.disableArtifact, (call) => artifacts.disable(deps, call)),
    route(m.registerMetal, (call) => metal.register(deps, call)),
    route(m.heartbeatMetal, (call) => metal.heartbeat(deps, call)),
    route(m.listMetal, (call) => metal.list(deps, call)),
    route(m.getMetal, (call) => metal.get(deps, call)),
    route(m.deleteMetal, (call) => metal.remove(deps, call)),
    route(m.submitEvent, (call) => metal.submit(deps, call)),
    route(a.createAccount, (call) => accounts.create(deps, call)),
    route(a.listAccounts, (call) => accounts.list(deps, call)),
    route(a.getMe, (call) => accounts.me(deps, call)),
    route(a.getAccount, (call) => accounts.get(deps, call)),
    route(a.updateAccount, (call) => accounts.update(deps, call)),
    route(a.addCredits, (call) => accounts.creditAccount(deps, call)),
    route(a.addBalance, (call) => accounts.payAccount(deps, call)),
    route(a.listPayments, (call) => accounts.payments(deps, call)),
    route(a.createKey, (call) => keys.create(deps, call)),
    route(a.listKeys, (call) => keys.list(deps, call)),
    route(a.updateKey, (call) => keys.update(deps, call)),
    route(a.deleteKey, (call) => keys.remove(deps, call)),
  ];
}
