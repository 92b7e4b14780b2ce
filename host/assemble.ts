// SPDX-License-Identifier: Apache-2.0
/**
 * Puts a host together and takes it down again. The order of a start is the point: nothing is desired
 * of a host before everything an earlier process left has been ended and has its proof.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ChallengeWish } from "#contract/link/challenge.ts";
import type { Desired, HostFacts, Isolation, StreamRequest } from "#contract/link/machine.ts";
import type { Driver, EndFacts } from "#drivers/driver.ts";
import type { Backoff } from "#link/backoff.ts";
import type { NatsAccess } from "#link/nats/access.ts";
import { dialNats } from "#link/nats/dial.ts";
import type { HostLink, LinkStream } from "#link/port.ts";
import { dialSocket } from "#link/socket.ts";
import { readBoot } from "./boot.ts";
import type { Ceiling } from "./ceiling.ts";
import { type Engines, testEngines } from "./engines.ts";
import { Expiry } from "./expiry.ts";
import { Finals } from "./finals.ts";
import { type KeptHostOptions, startKept } from "./kept/assemble.ts";
import { isKeptRequest, serveKept } from "./kept/streams.ts";
import type { HostDeps, HostLog } from "./machine.ts";
import { ownId } from "./own-id.ts";
import { Reconciler } from "./reconcile.ts";
import { Reports } from "./report.ts";
import { residueDesk } from "./residues.ts";
import { Signer, type SignerOptions } from "./signer/signer.ts";
import { MachineStore } from "./store.ts";
import { serveStream } from "./streams.ts";

export interface HostOptions {
  /** 0700; holds the host's key and its machines' records. One process at a time. */
  stateFolder: string;
  /** How control is met: its socket on this machine, or a broker. */
  link: { path: string } | { nats: NatsAccess };
  drivers: Driver<EndFacts>[];
  ceiling: Ceiling;
  signer: SignerOptions;
  /** How much later than control's own expiry the host ends a machine by itself. */
  expiryGraceMs?: number;
  /** Pause between two runs of the engines' self-tests. */
  enginesEveryMs?: number;
  /** How long a shutdown tries to end machines; what resists is left to the next start's recovery. */
  endAllMs?: number;
  /** How long a shutdown waits for control to take the last proofs; later they wait on disk. */
  farewellMs?: number;
  heartbeatMs?: number;
  backoff?: Backoff;
  log?: HostLog;
  /** Kept machines; absent: this host takes none. */
  kept?: KeptHostOptions;
}

export interface RunningHost {
  readonly hostId: string;
  facts(): HostFacts;
  rotateIssuer(): Promise<void>;
  /** Ends every machine with trigger `shutdown`; proofs control did not take are kept for the next start. */
  stop(): Promise<void>;
}

export async function startHost(options: HostOptions): Promise<RunningHost> {
  const log = options.log ?? (() => {});
  const backoff = options.backoff ?? { firstMs: 50, mostMs: 5_000 };
  const undo: (() => Promise<void> | void)[] = [];
  const unwind = async () => {
    const faults: unknown[] = [];
    for (const step of undo.splice(0).reverse())
      try {
        await step();
      } catch (error) {
        faults.push(error);
      }
    if (faults.length > 0) throw new AggregateError(faults, "the host did not come down whole");
  };
  try {
    const eventsFolder = join(options.stateFolder, "events");
    mkdirSync(eventsFolder, { recursive: true, mode: 0o700 });
    const store = await MachineStore.open(options.stateFolder, (error) =>
      log("host.late-flush-failed", { error: String(error) }),
    );
    undo.push(() => store.close());
    for (const name of store.unreadable) log("host.record-unreadable", { name });
    const hostId = await ownId(options.stateFolder);
    const signer = await Signer.start(options.signer);
    undo.push(() => signer.close());
    for (const driver of options.drivers) undo.push(() => driver.close?.());

    const stopping = new AbortController();
    let link: HostLink | undefined;
    const away = () => Promise.reject(new Error("control is not connected yet"));
    const deps: HostDeps = {
      store,
      signer,
      drivers: new Map<Isolation, Driver<EndFacts>>(options.drivers.map((one) => [one.isolation, one])),
      boot: readBoot(),
      ceiling: options.ceiling,
      eventsFolder,
      findResidues: residueDesk((question) => link?.findResidues(question) ?? away()),
      log,
      retry: backoff,
      stopping: stopping.signal,
    };
    const finals = new Finals();
    const reports = new Reports((observation) => {
      if (observation.incarnation === undefined) reconciler.acknowledged(observation);
      else kept?.reconciler.acknowledged(observation);
    }, backoff);
    undo.push(() => reports.close());
    const expiry = new Expiry(options.expiryGraceMs ?? 2_000, (id) => reconciler.end(id, "ttl"));
    undo.push(() => expiry.close());
    const reconciler: Reconciler = new Reconciler(deps, reports, finals, expiry);
    for (const driver of options.drivers)
      driver.onDeath((id, reason) => {
        reconciler.find(id)?.events.add("died", { reason });
        reconciler.end(id, reason === "oom" ? "oom" : "recovery");
      });

    await reconciler.recover();
    const publish = (wish: ChallengeWish) => link?.publish(wish) ?? away();
    const kept = options.kept && (await startKept(options.kept, options.stateFolder, reports, publish, log));
    if (kept) undo.push(() => kept.close());
    const facts: HostFacts = {
      ...(await ownFacts(deps, hostId, await testEngines(deps))),
      ...kept?.facts(),
    };
    const proven = [...facts.drivers];
    facts.drivers.push(...((await kept?.probes()) ?? []));

    let open = true;
    const meeting = {
      facts,
      backoff,
      ...(options.heartbeatMs !== undefined && { heartbeatMs: options.heartbeatMs }),
      handlers: {
        onDesired(batch: Desired[], complete: boolean) {
          if (!open) return;
          reconciler.accept(
            batch.filter(({ spec }) => spec.kept === undefined),
            complete,
          );
          kept?.reconciler.accept(
            batch.filter(({ spec }) => spec.kept !== undefined),
            complete,
          );
          reports.hurry();
        },
        onStream: (request: StreamRequest, stream: LinkStream) => {
          if (!isKeptRequest(request)) serveStream(reconciler, log, request, stream);
          else if (kept) serveKept(kept.reconciler, log, request, stream);
          else stream.end({ kind: "failed", code: "machine.not-running", detail: "no kept machines here" });
        },
      },
      onFault: (error: Error) => log("host.link-fault", { error: error.message }),
    };
    const met =
      "nats" in options.link
        ? dialNats({ ...options.link.nats, ...meeting })
        : dialSocket({ path: options.link.path, ...meeting });
    link = met;
    undo.push(() => met.close());
    reports.attach(met);

    const announce = () => met.announce(facts);
    let testing = false;
    const engines = setInterval(async () => {
      // Tests that take longer than the time between two must not pile up.
      if (testing) return;
      testing = true;
      const now = await testEngines(deps).finally(() => {
        testing = false;
      });
      // What was missing at the start (an engine, above all) may be there by now, or gone.
      const drivers = [...proven, ...((await kept?.probes()) ?? [])];
      const same = JSON.stringify([now, drivers]) === JSON.stringify([facts.engines, facts.drivers]);
      if (!open || same) return;
      Object.assign(facts, { engines: now, drivers });
      announce();
    }, options.enginesEveryMs ?? 5_000);
    engines.unref();

    let stopped: Promise<void> | undefined;
    return {
      hostId,
      facts: () => structuredClone(facts),
      async rotateIssuer() {
        facts.issuers = await signer.rotate();
        announce();
      },
      stop() {
        stopped ??= (async () => {
          open = false;
          clearInterval(engines);
          const enough = setTimeout(
            () => stopping.abort(new Error("the host is stopping")),
            options.endAllMs ?? 20_000,
          );
          await Promise.all([reconciler.endAll("shutdown"), kept?.suspend()]);
          clearTimeout(enough);
          stopping.abort(new Error("the host is stopping"));
          await reports.drained(options.farewellMs ?? 2_000);
          await unwind();
        })();
        return stopped;
      },
    };
  } catch (error) {
    await unwind();
    throw error;
  }
}

async function ownFacts(deps: HostDeps, hostId: string, engines: Engines): Promise<HostFacts> {
  const { boot } = deps;
  return {
    hostId,
    version: boot.engine.version,
    bootId: boot.bootId,
    cpus: boot.cpus,
    memoryMiB: boot.memoryMiB,
    drivers: await Promise.all(
      [...deps.drivers.values()].map(async (driver) => ({
        isolation: driver.isolation,
        ...(await driver.probe()),
      })),
    ),
    issuers: deps.signer.issuers(),
    engines,
  };
}
