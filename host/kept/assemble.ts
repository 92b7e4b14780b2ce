// SPDX-License-Identifier: Apache-2.0
/** Puts the kept half of a host together: drivers, their reconciler, and the ingress in front. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { HostFacts } from "#contract/link/machine.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import { redirectSsh } from "#drivers/qemu/network/ssh-redirect.ts";
import type { AcmeOptions } from "../ingress/acme/certificates.ts";
import { RequestRefused } from "../ingress/certify.ts";
import type { AttesterAnswer } from "../ingress/messages.ts";
import { startIngressProcess } from "../ingress/process.ts";
import type { IngressRoute } from "../ingress/routes.ts";
import type { HostLog } from "../machine.ts";
import type { Reports } from "../report.ts";
import { type KeptCeiling, refusalOf } from "./ceiling.ts";
import { Orphans } from "./orphans.ts";
import { KeptReconciler } from "./reconcile.ts";
import { SshEntries } from "./ssh-entries.ts";
import { KeptStore } from "./store.ts";

export interface KeptHostOptions {
  drivers: KeptDriver[];
  /** What they may have together. */
  ceiling: KeptCeiling;
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
  /** Where people log in to machines that are for that; null or absent: nowhere. */
  ssh?: { addresses: string; port: number; redirect: boolean } | null;
  /** The ingress process's own, when this one is root. */
  ingressUid: number;
  /** Halts them when the host stops; they come up again with the next start. Otherwise they run on. */
  haltOnStop: boolean;
  /** How long nobody must have known a machine before what is left of it is removed. */
  orphanGraceMs?: number;
}

const ORPHAN_GRACE_MS = 60 * 60_000;
/** What holds machines to their limits, where it is not QEMU. */
const LIMITED_BY: Partial<Record<KeptDriver["isolation"], string>> = {
  ...{ container: "docker", "system-container": "cgroups" },
};

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
  const isNotOwn = (domain: string) => domain !== own[0]?.domain;
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
    onIssuedInside: (machineId) => reconciler.certifyAnew(machineId),
  });
  const ssh = options.ssh ? openSsh(options.ssh, stateFolder, log) : null;
  const reconciler: KeptReconciler = new KeptReconciler({
    store: new KeptStore(join(stateFolder, "kept")),
    drivers,
    report: (observation) => reports.add(observation),
    // A machine that claimed the API's name would be handed everybody's keys.
    onRoutes: (routes) => ingress.setRoutes([...own, ...routes.filter(({ domain }) => isNotOwn(domain))]),
    certify: (domains, request) =>
      ingress.certify(domains.filter(isNotOwn), request).catch((error: unknown) => {
        if (!(error instanceof RequestRefused)) throw error;
        throw new DriverFault("machine.start-failed", error.message, { cause: error });
      }),
    ...(ssh && { ssh }),
    onNamed: (machineIds, complete) => orphans.named(machineIds, complete),
    refusal: (desired, others) => refusalOf(ceiling, desired, others),
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
          limits: LIMITED_BY[driver.isolation] ?? "qemu",
          privileged: true,
        })),
      ),
    suspend: () => (haltOnStop ? reconciler.suspend() : reconciler.close()),
    close: async () => {
      await ingress.close();
      await orphans.close();
      await reconciler.close();
      await ssh?.close();
      await Promise.all(drivers.map((driver) => driver.close()));
    },
  };
}

function openSsh(
  { addresses, port, redirect }: NonNullable<KeptHostOptions["ssh"]>,
  stateFolder: string,
  log: HostLog,
): SshEntries {
  return new SshEntries({
    ...{ addresses, port, log, file: join(stateFolder, "ssh-addresses.json") },
    redirect: async () => redirect && process.getuid?.() === 0 && redirectSsh(addresses, port),
  });
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
