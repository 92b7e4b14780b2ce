// SPDX-License-Identifier: Apache-2.0
/** Puts the kept half of a host together: drivers, their reconciler, and the ingress in front. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Desired, HostFacts } from "#contract/link/machine.ts";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import type { AcmeOptions } from "../ingress/acme/certificates.ts";
import type { AttesterAnswer } from "../ingress/messages.ts";
import { startIngressProcess } from "../ingress/process.ts";
import type { IngressRoute } from "../ingress/routes.ts";
import type { HostLog } from "../machine.ts";
import type { Reports } from "../report.ts";
import { Orphans } from "./orphans.ts";
import { KeptReconciler } from "./reconcile.ts";
import { KeptStore } from "./store.ts";

export interface KeptHostOptions {
  drivers: KeptDriver[];
  /** What they may have together. */
  ceiling: { cpuMillis: number; memoryMiB: number; diskMiB: number };
  /** Where strangers come in; ports 0 for any that is free. */
  ingress: {
    host: string;
    httpPort: number;
    httpsPort: number;
    acme?: {
      directoryUrl: string;
      email?: string | null;
      caFile?: string | null;
      challenge: "http-01" | "dns-01";
    } | null;
    /** Control's API, when it is on this machine: TLS for it is ended here, as for workloads. */
    api?: { domain: string; port: number; proofFile?: string } | null;
  };
  /** The ingress process's own, when this one is root. */
  ingressUid: number;
  /** Halts them when the host stops; they come up again with the next start. Otherwise they run on. */
  haltOnStop: boolean;
  /** How long nobody must have known a machine before what is left of it is removed. */
  orphanGraceMs?: number;
}

const ORPHAN_GRACE_MS = 60 * 60_000;

export interface Kept {
  reconciler: KeptReconciler;
  facts(): Pick<HostFacts, "ingress" | "kept">;
  probes(): Promise<HostFacts["drivers"]>;
  /** Before the last reports are sent. */
  suspend(): Promise<void>;
  close(): Promise<void>;
}

export async function startKept(
  options: KeptHostOptions,
  stateFolder: string,
  reports: Pick<Reports, "add">,
  publish: AcmeOptions["publish"],
  log: HostLog,
): Promise<Kept> {
  const { drivers, ceiling, ingressUid, haltOnStop } = options;
  const { acme, api, ...where } = options.ingress;
  const own: IngressRoute[] = api
    ? [
        {
          ...{ domain: api.domain, machineId: "control", secureOnly: true },
          target: { host: "127.0.0.1", port: api.port },
          ...(api.proofFile === undefined ? {} : { proof: readFileSync(api.proofFile, "utf8").trim() }),
        },
      ]
    : [];
  const ingress = await startIngressProcess({
    ...where,
    ...(acme && {
      acme: {
        ...{ directoryUrl: acme.directoryUrl, email: acme.email ?? null, challenge: acme.challenge, publish },
        ca: acme.caFile ? readFileSync(acme.caFile, "utf8") : null,
      },
    }),
    uid: ingressUid,
    folder: join(stateFolder, "ingress"),
    log,
    attester: unattested,
  });
  const reconciler = new KeptReconciler({
    store: new KeptStore(join(stateFolder, "kept")),
    drivers,
    report: (observation) => reports.add(observation),
    // A machine that claimed the API's name would be handed everybody's keys.
    onRoutes: (routes) =>
      ingress.setRoutes([...own, ...routes.filter(({ domain }) => domain !== own[0]?.domain)]),
    onNamed: (machineIds, complete) => orphans.named(machineIds, complete),
    refusal: (desired, others) => refusal(ceiling, desired, others),
    log,
  });
  await ingress.setRoutes(own);
  const orphans = new Orphans({
    ...{ drivers, log, graceMs: options.orphanGraceMs ?? ORPHAN_GRACE_MS },
    clock: () => performance.now(),
    isRecorded: (machineId) => reconciler.isRecorded(machineId),
  });
  await reconciler.adopt();
  return {
    reconciler,
    facts: () => ({
      kept: ceiling,
      ingress: {
        host: where.host,
        httpPort: ingress.httpPort,
        httpsPort: ingress.httpsPort,
        caPem: ingress.caPem,
      },
    }),
    probes: () =>
      Promise.all(
        drivers.map(async (driver) => ({
          isolation: driver.isolation,
          ...(await driver.probe()),
          limits: "docker",
          privileged: true,
        })),
      ),
    suspend: () => (haltOnStop ? reconciler.suspend() : reconciler.close()),
    close: async () => {
      await ingress.close();
      await orphans.close();
      await reconciler.close();
      await Promise.all(drivers.map((driver) => driver.close()));
    },
  };
}

/** Halted machines keep their disk and give back the rest. */
function refusal(
  ceiling: KeptHostOptions["ceiling"],
  desired: Desired,
  others: readonly Desired[],
): string | undefined {
  const all = [...others, desired];
  const up = all.filter(({ want }) => want === "up");
  const sum = (list: readonly Desired[], of: (one: Desired) => number) =>
    list.reduce((total, one) => total + of(one), 0);
  if (sum(up, ({ spec }) => spec.cpuMillis) > ceiling.cpuMillis) return "no cpu left on this host";
  if (sum(up, ({ spec }) => spec.memoryMiB) > ceiling.memoryMiB) return "no memory left on this host";
  if (sum(all, ({ spec }) => spec.kept?.diskMiB ?? 0) > ceiling.diskMiB) return "no disk left on this host";
  return undefined;
}

/** A container has no evidence of its own: the operator of this host sees into it, and the answer says so. */
function unattested(route: IngressRoute): AttesterAnswer {
  const body = JSON.stringify({
    platform: "container",
    hardware: false,
    report: null,
    raw_report: null,
    gpu_token: null,
    note: "This workload runs in containers on its host. Nothing keeps the host's operator out of it.",
    domain: route.domain,
  });
  return { status: 200, contentType: "application/json; charset=utf-8", body };
}
