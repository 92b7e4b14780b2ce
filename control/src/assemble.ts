// SPDX-License-Identifier: Apache-2.0
/** Wires control: the only place that constructs. The same for one laptop and for a cluster. */

import { readFileSync } from "node:fs";
import type { Server as TlsServer } from "node:https";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import type { Logger } from "pino";
import { DOCUMENTS } from "#contract/documents.ts";
import type { Observation } from "#contract/link/machine.ts";
import { openApiDocument } from "#contract/openapi.ts";
import type { Surface } from "#contract/operation.ts";
import type { ControlHandlers, ControlLink } from "#link/port.ts";
import { several } from "#link/several.ts";
import { listenSocket } from "#link/socket.ts";
import { collectStrays } from "./blobs/collect.ts";
import { openBlobStore } from "./blobs/open.ts";
import { brokerForHosts, meetAtBroker } from "./broker.ts";
import type { ControlConfig } from "./config.ts";
import {
  openCollateral,
  openExpectations,
  openGuestImages,
  openImageTurn,
} from "./core/attestation/index.ts";
import {
  HOSTS_CHANNEL,
  listClosed,
  listPutOut,
  markSeen,
  openFleet,
  rememberHost,
} from "./core/fleet/index.ts";
import { installOperatorKey } from "./core/identity/index.ts";
import { openFeed } from "./core/journal/index.ts";
import { LogWriter, outsideFile, Witnesses } from "./core/log/index.ts";
import { every, leftoverOf, observe, openWatch, startConverger } from "./core/machines/index.ts";
import { openArtifactKeys, startWork } from "./core/models/index.ts";
import { listIssuers, rememberIssuers } from "./core/proofs/index.ts";
import { openKeyRing, openVault } from "./core/vault/index.ts";
import { startWebhooks } from "./core/webhooks/index.ts";
import { type Database, openDatabase } from "./database/open.ts";
import { startHousekeeping } from "./housekeeping.ts";
import { openLife } from "./http/life.ts";
import { openMetrics } from "./http/metrics.ts";
import { dressNxError } from "./http/nx-error.ts";
import { addPages } from "./http/pages.ts";
import { createServer } from "./http/server.ts";
import { followTls, readTls, requireGuarded } from "./http/tls.ts";
import { openIdentity } from "./identity.ts";
import { startNames } from "./names.ts";
import { rolloutsTurn } from "./surfaces/devices/rollout-turn.ts";
import { devicesRoutes } from "./surfaces/devices/routes.ts";
import { standingsTurn } from "./surfaces/devices/standing.ts";
import { dressOAuthError } from "./surfaces/identity/errors.ts";
import { reapCalls } from "./surfaces/inference/calls.ts";
import { dressError as dressInferenceError } from "./surfaces/inference/errors.ts";
import { inferenceRoutes } from "./surfaces/inference/routes.ts";
import { openUpstreams } from "./surfaces/inference/upstreams.ts";
import { claimInstance, sendLaunch } from "./surfaces/instances/claim.ts";
import { confirmTurn } from "./surfaces/instances/confirm.ts";
import { egressTurn } from "./surfaces/instances/egress.ts";
import { instancesTurn } from "./surfaces/instances/end.ts";
import { dressError as dressInstancesError, envelope } from "./surfaces/instances/envelope.ts";
import { insideOf } from "./surfaces/instances/inside.ts";
import { makeName } from "./surfaces/instances/names.ts";
import { instanceReactions } from "./surfaces/instances/reactions.ts";
import { instanceRoutes } from "./surfaces/instances/routes.ts";
import { sparesTurn } from "./surfaces/instances/spares.ts";
import type { Timings } from "./surfaces/instances/stages.ts";
import { modelRoutes } from "./surfaces/models/routes.ts";
import { platformRoutes } from "./surfaces/platform/routes.ts";
import { collect } from "./surfaces/registry/collect.ts";
import { dressError as dressRegistryError } from "./surfaces/registry/errors.ts";
import { registryRoutes } from "./surfaces/registry/routes.ts";
import { takeBackUploads } from "./surfaces/registry/upload-rows.ts";
import { openPayments, type Payments } from "./surfaces/sessions/billing.ts";
import { dressError } from "./surfaces/sessions/errors.ts";
import { sessionReactions } from "./surfaces/sessions/reactions.ts";
import { findResidues } from "./surfaces/sessions/residues.ts";
import { sessionRoutes } from "./surfaces/sessions/routes.ts";
import { tierOf } from "./surfaces/sessions/tiers.ts";
import { offerArtifact } from "./surfaces/workloads/artifacts.ts";
import { challengeWorkload } from "./surfaces/workloads/challenge.ts";
import { openJudge } from "./surfaces/workloads/compose/judge.ts";
import { DiskCarrier } from "./surfaces/workloads/disk-carrier.ts";
import { checkDomains } from "./surfaces/workloads/domain-checks.ts";
import { dressError as dressWorkloadsError } from "./surfaces/workloads/errors.ts";
import { meterTurn } from "./surfaces/workloads/money.ts";
import { movesTurn, triedElsewhere } from "./surfaces/workloads/moves.ts";
import { keepNotices } from "./surfaces/workloads/notices.ts";
import { sendPayload } from "./surfaces/workloads/payload-sender.ts";
import { workloadReactions } from "./surfaces/workloads/reactions.ts";
import { releaseSecrets } from "./surfaces/workloads/release.ts";
import { workloadRoutes } from "./surfaces/workloads/routes.ts";

const TOKEN_SURFACES: ReadonlySet<Surface> = new Set<Surface>(["identity", "models", "devices"]);
/** From a start until the domain that its owner brought is looked at. */
const DOMAINS_MS = 2_000;
/** Turns of the meter; how often an account is charged is `workloads.meterEveryMs`. */
const METER_MS = 1_000;
/** Between two checkpoints that witnesses are shown. */
const WITNESS_MS = 500;
/** Between two looks for proofs that no checkpoint has; how long one may wait is `transparency.everyMs`. */
const LOG_MS = 200;
const IMAGES_MS = 5000;
const COLLECT_MS = 60_000;
/** Between two looks for hosts that are to be emptied and workloads that wait for a place. */
const MOVES_MS = 1_000;
/** Between two looks for instances whose machines are to show by which keys they are known. */
const CONFIRM_MS = 250;
/** Between two looks for instances that failed and whose machines are to end. */
const INSTANCES_MS = 1_000;
/** Between two looks at what instances have sent. Their hosts count and cut meanwhile. */
const EGRESS_MS = 3_000;
/** Between two looks for calls of models that nobody is left to end. */
const REAP_MS = 60_000;
/** A host that was not heard of for two minutes gets no machine. */
const SEEN_MS = 20_000;
const STANDINGS_MS = 10_000;
/** A host that has just come is heard when it has had the time to say what became of what it runs. */
const STEADY_MS = 5_000;

export interface AssembleOptions {
  config: ControlConfig;
  version: string;
  log: Logger;
  /** Answers are checked against the contract; tests say true. */
  checkAnswers: boolean;
  /** Draws names of instances; tests draw the same again and again. */
  makeInstanceName?: () => string;
}

export interface RunningControl {
  app: FastifyInstance;
  db: Database;
  /** Base URL, e.g. `http://127.0.0.1:8787`. */
  url: string;
  /** False: what would add to the database is refused until it is true again. */
  setRoom(room: boolean): void;
  close(): Promise<void>;
}

export async function startControl({
  config,
  version,
  log,
  checkAnswers,
  makeInstanceName = makeName,
}: AssembleOptions): Promise<RunningControl> {
  const onError = (error: unknown) => log.error({ err: error }, "background work failed");
  requireGuarded(config.http);
  const undo: (() => Promise<void>)[] = [];
  try {
    const db = await openDatabase({
      connection: connectionOf(config),
      poolMax: config.database.poolMax,
      onError,
    });
    undo.push(() => db.close());
    const { keyHash, keyPrefix } = config.operator;
    if (keyHash !== null) await installOperatorKey(db.run, Buffer.from(keyHash, "hex"), keyPrefix);
    const ring = await openKeyRing(`${config.folder}/kek`);
    const vault = openVault(db.run, ring);
    const judge = openJudge();
    undo.push(() => judge.close());
    const store = await openBlobStore(config.blobs);
    const watch = await openWatch(db, onError);
    const feed = await openFeed(db);
    const guestImages = openGuestImages(config.imagesFolder);
    const { kdsUrl, pcsUrl, pcsRootUrl, collateralFolder, policyFile, snp } = config.attestation;
    const expectedOf = openExpectations({ policyFile, snp });
    const collateral = openCollateral({
      folder: collateralFolder ?? join(config.folder, "collateral"),
      upstreams: { kds: kdsUrl, pcs: pcsUrl, pcsRoot: pcsRootUrl },
      now: Date.now,
      log: (what, facts) => log.info(facts, what),
    });
    const reactions = {
      proven: sessionReactions(vault),
      kept: { workloads: workloadReactions, instances: instanceReactions },
    };

    let link: ControlLink | null = null;
    const fleet = openFleet(() => link!);
    const converger = await startConverger({ db, fleet, watch, onError });
    undo.push(() => converger.stop());
    const clock = () => performance.now();
    const carrier = new DiskCarrier({ db, fleet, converger, onError, clock });
    undo.push(() => carrier.close());
    const names = await startNames(db, config, log, onError);
    undo.push(() => names.close());
    let url = "";
    const registryHost = () => config.registry.host ?? new URL(url).host;
    const inside = () => insideOf(config.instances.inference, () => ({ url, host: registryHost() }));
    const observed = async (hostId: string, observation: Observation) => {
      const change = await observe(db, reactions, hostId, observation);
      if (change !== null) {
        watch.tell(change);
        return;
      }
      const leftover = await leftoverOf(db.run, hostId, observation);
      if (leftover !== null) fleet.send(hostId, [leftover]);
    };
    const handlers: ControlHandlers = {
      onHost: (facts) =>
        fleet.joined(facts, async () => {
          // First of all: it throws for a host that was put out.
          await rememberHost(db.run, facts);
          await rememberIssuers(db.run, facts);
          if (facts.kept !== undefined) await offerArtifact(db, facts.version);
        }),
      onHostGone: (hostId) => fleet.gone(hostId),
      onChallenge: (hostId, wish) => names.challenges.take(hostId, wish),
      onResidues: (hostId, { machineId }) => findResidues({ db: db.run, vault }, hostId, machineId),
      onObserved: async (hostId, observations) => {
        await Promise.all(
          observations.map(async (observation) => {
            await keepNotices(db, hostId, observation);
            if (await triedElsewhere({ db, fleet }, hostId, observation)) return;
            await observed(hostId, observation);
            // Not waited for: the report is committed, and a host that gets nothing asks again.
            if (observation.wantsDisk) carrier.wanted(hostId, observation);
            if (observation.wantsPayload)
              Promise.all([
                sendPayload({ db, fleet, vault, judge }, hostId, observation),
                sendLaunch({ db, fleet, inside }, hostId, observation),
              ]).catch(onError);
            if (observation.wantsSecrets)
              claimInstance(
                { db, fleet, vault, guestImages, collateral, expectedOf, inside },
                hostId,
                observation,
              ).catch(onError);
            if (observation.wantsSecrets)
              releaseSecrets(
                { db, fleet, vault, judge, guestImages, collateral, expectedOf },
                hostId,
                observation,
              ).catch(onError);
          }),
        );
      },
    };
    const onFault = (error: Error, hostId: string | null) => log.warn({ err: error, host: hostId }, "link");
    const links = [await listenSocket({ path: config.link.socket, handlers, onFault })];
    undo.push(() => Promise.all(links.map((one) => one.close())).then(() => {}));
    const broker = await meetAtBroker({ db, config, handlers, onFault, onError });
    if (broker !== null) {
      links.push(broker.link);
      undo.push(broker.stop);
    }
    link = several(links);
    const refreshClosed = async () => {
      fleet.setClosed(await listClosed(db.run));
      for (const hostId of await listPutOut(db.run, fleet.held())) fleet.drop(hostId);
    };
    await refreshClosed();
    // Said on every replica; one that missed it looks again soon, and asks the row when the host comes again.
    await db.listen(HOSTS_CHANNEL, () => {
      refreshClosed().catch(onError);
    });
    const stopHousekeeping = await startHousekeeping(db, config, vault, onError);
    undo.push(stopHousekeeping);

    const metrics = openMetrics();
    metrics.gauge("casemate_hosts", "Hosts connected to this process", () => fleet.held().length);
    const { tiers, startTimeoutMs, endTimeoutMs, template } = config.sessions;
    const sessions = sessionRoutes({
      ...{ db, fleet, converger, watch, vault, feed, tiers, log, startTimeoutMs, endTimeoutMs, template },
      payments: paymentsOf(config),
      replica: config.replica,
      startedAt: new Date(),
      publicUrl: () => config.identity.publicUrl ?? url,
    });
    const outside = outsideFile(join(config.folder, "log-checkpoint"));
    const witnesses = new Witnesses(db, config.transparency.witnesses, (text) => log.warn(text));
    const logWriter = new LogWriter({ db, vault, outside, witnesses, clock }, config.transparency);
    undo.push(every(LOG_MS, () => logWriter.turn(), onError));
    undo.push(
      every(IMAGES_MS, openImageTurn({ db, guestImages, issuers: () => listIssuers(db.soft) }), onError),
    );
    if (config.transparency.witnesses.length > 0)
      undo.push(every(WITNESS_MS, () => logWriter.witnessTurn(), onError));
    metrics.gauge("casemate_log_stopped", "1 while the transparency log refuses to sign", () =>
      logWriter.stopped === null ? 0 : 1,
    );
    const { workloads } = config;
    const { looks } = names;
    const kept = workloadRoutes({
      expectedOf,
      collateral,
      guestImages,
      db,
      fleet,
      converger,
      vault,
      judge,
      log,
      looks,
      workloads,
      registryHost,
    });
    const domainTimes = { checkMs: config.names.domainCheckMs, graceMs: config.names.domainGraceMs };
    const domainsTurn = () => checkDomains({ db, converger, looks, workloads }, domainTimes);
    const stopDomains = every(DOMAINS_MS, domainsTurn, onError);
    const stopMeter = every(METER_MS, () => meterTurn({ db, converger }, workloads), onError);
    const stopMoves = every(MOVES_MS, () => movesTurn({ db, fleet, converger, observed }), onError);
    const stopSeen = every(
      SEEN_MS,
      () => Promise.all([markSeen(db.soft, fleet.held(STEADY_MS)), refreshClosed()]),
      onError,
    );
    undo.push(async () => {
      await Promise.all([stopMeter(), stopSeen(), stopMoves(), stopDomains()]);
    });
    const { registry, replica } = config;
    const images = registryRoutes({ db, store, log, registry, replica });
    await takeBackUploads({ db, replica });
    undo.push(startCollecting({ db, store, registry }, onError));
    const webhooks = await startWebhooks({ db, vault, config: config.webhooks, onError });
    undo.push(() => webhooks.stop());
    const identity = await openIdentity({ db, vault }, config, () => url, onError);
    undo.push(() => identity.close());
    const edge = devicesRoutes({ db, feed, store, log, bounds: config.devices });
    const { rolloutEveryMs } = config.devices;
    undo.push(every(rolloutEveryMs, () => rolloutsTurn({ db, log }, rolloutEveryMs), onError));
    undo.push(every(STANDINGS_MS, () => standingsTurn({ db }), onError));
    const artifactKeys = await openArtifactKeys(db, vault);
    const work = await startWork({
      ...{ db, store, keys: artifactKeys, config: config.models, replica, onError },
      folder: `${config.folder}/work`,
    });
    undo.push(() => work.stop());
    const models = modelRoutes({
      ...{ db, vault, store, feed, keys: artifactKeys, work, config: config.models, log },
      folder: `${config.folder}/work`,
    });
    const platform = platformRoutes({
      ...identity.operator,
      ...{ db, vault, ring, feed, webhooks, webhooksConfig: config.webhooks },
      broker: brokerForHosts(config.link),
      collateral,
      attestation: config.attestation,
      challenge: (account, workload, ask) =>
        challengeWorkload(
          { db, fleet, vault, judge, guestImages, collateral, expectedOf },
          account,
          workload,
          ask,
        ),
    });
    const { instances } = config;
    const { inference, inferenceModel } = instances;
    const upstreams = openUpstreams(inference, inferenceModel);
    const gateway = inferenceRoutes({ db, upstreams, bounds: inference });
    // Those of a process that died; twice the time, so that none is taken for one that goes on.
    undo.push(every(REAP_MS, () => reapCalls(db, 2 * inference.timeoutMs), onError));
    const own = instanceRoutes({
      ...{ db, fleet, converger, feed, vault, guestImages, collateral, expectedOf, instances, log },
      makeName: makeInstanceName,
      claim: (hostId, start) =>
        claimInstance({ db, fleet, vault, guestImages, collateral, expectedOf, inside }, hostId, start),
    });
    undo.push(every(INSTANCES_MS, () => instancesTurn({ db, converger }), onError));
    const spares = { db, fleet, converger, guestImages, instances };
    undo.push(every(INSTANCES_MS, () => sparesTurn(spares), onError));
    const took = metrics.durations(
      "casemate_instance_start_seconds",
      "Starts of instances by stage",
      "stage",
    );
    const started = (timings: Timings) => {
      for (const [stage, ms] of Object.entries(timings)) if (ms !== null) took(stage.replace(/_ms$/, ""), ms);
    };
    const confirming = { db, fleet, guestImages, collateral, expectedOf, started };
    undo.push(every(EGRESS_MS, () => egressTurn({ db, fleet }, onError), onError));
    undo.push(every(CONFIRM_MS, () => confirmTurn(confirming, onError), onError));
    const routes = [
      ...sessions,
      ...kept,
      ...own,
      ...gateway,
      ...platform,
      ...images,
      ...identity.routes,
      ...edge,
      ...models,
    ];
    let room = true;
    const life = openLife();
    const { tls } = config.http;
    const app = await createServer({
      ...{ tls: tls === null ? null : readTls(tls), stopping: life.stopping },
      hasRoom: () => room,
      ...{ db, vault, routes, log, metrics, checkAnswers },
      dress: {
        ...{ sessions: dressError, platform: dressError, workloads: dressWorkloadsError },
        ...{
          inference: dressInferenceError,
          instances: dressInstancesError,
          registry: dressRegistryError,
          oauth: dressOAuthError,
        },
        ...{ identity: dressNxError, models: dressNxError, devices: dressNxError },
      },
      envelopes: { instances: envelope },
      readToken: (given) => identity.readToken(given),
      rpmOf: (surface, tier) => {
        if (surface === "workloads" || surface === "registry") return workloads.requestsPerMinute;
        if (surface === "inference") return inference.requestsPerMinute;
        if (surface === "instances") return instances.requestsPerMinute;
        if (TOKEN_SURFACES.has(surface)) return config.identity.requestsPerMinute;
        return tierOf(tiers, tier).rpm;
      },
      trustedProxies: config.http.trustedProxies,
      ingressProofHash: bytesOf(config.http.ingressProofHash),
      pages: (server) =>
        addPages(server, {
          documents: DOCUMENTS.map(({ path, ...document }) => ({
            path,
            title: document.title,
            content: openApiDocument({ ...document, version }),
            page: document.tokens === true ? ("swagger" as const) : ("scalar" as const),
          })),
          metrics,
          instance: config.instance,
          ready: async () => !life.stopping() && fleet.held().length > 0 && (await db.ping()),
        }),
    });
    url = await app.listen({ host: config.http.host, port: config.http.port });
    undo.push(() => life.end(app, config.http.drainMs));
    if (tls !== null) {
      const stopFollowing = followTls(app.server as unknown as TlsServer, tls, onError);
      undo.push(async () => stopFollowing());
    }
    const setRoom = (now: boolean) => {
      if (room !== now) log.warn({ room: now }, now ? "room again" : "no room: no new work is taken");
      room = now;
    };
    return { app, db, url, setRoom, close: () => unwind(undo) };
  } catch (error) {
    await unwind(undo);
    throw error;
  }
}

async function unwind(undo: (() => Promise<void>)[]): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step();
}

/** Files without a row come from a restore, so they are looked for once; the rest goes on for ever. */
function startCollecting(deps: Parameters<typeof collect>[0], onError: (error: unknown) => void) {
  let strays = true;
  const turn = async () => {
    await collect(deps);
    if (strays) await collectStrays(deps);
    strays = false;
  };
  return every(COLLECT_MS, turn, onError);
}

const bytesOf = (hex: string | null) => (hex === null ? null : Buffer.from(hex, "hex"));

function connectionOf({ database }: ControlConfig) {
  if (database.urlFile !== null) return { connectionString: readFileSync(database.urlFile, "utf8").trim() };
  if (database.socket === null) throw new Error("config database: either socket or urlFile must be given");
  return { host: database.socket, user: database.user, database: database.name };
}

/** All of it or nothing: half a configuration is an error at start, not at the first payment. */
function paymentsOf({ payments }: ControlConfig): Payments | null {
  const { apiBase, ...needed } = payments;
  const missing = Object.entries(needed).filter(([, value]) => value === null);
  if (missing.length === Object.keys(needed).length) return null;
  if (missing.length > 0)
    throw new Error(`config payments: ${missing.map(([name]) => name).join(", ")} missing`);
  return openPayments({
    secretKey: readFileSync(needed.secretKeyFile!, "utf8").trim(),
    webhookSecret: readFileSync(needed.webhookSecretFile!, "utf8").trim(),
    prices: { starter: needed.priceStarter!, business: needed.priceBusiness! },
    successUrl: needed.successUrl!,
    cancelUrl: needed.cancelUrl!,
    apiBase,
  });
}
