// SPDX-License-Identifier: Apache-2.0
/**
 * A whole installation inside a test: control on a cloned database, a host with its real signer, and
 * the driver the test asks for, joined by the real unix-socket link.
 */

import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningControl, startControl } from "#control/src/assemble.ts";
import { type ControlConfig, resolveConfig } from "#control/src/config.ts";
import { hashKey, makeKey, openAccount } from "#control/src/core/identity/index.ts";
import { DEFAULT_CONFIG } from "#control/src/defaults.ts";
import { openLog } from "#control/src/log.ts";
import type { Driver, EndFacts } from "#drivers/driver.ts";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import { type RunningHost, startHost } from "#host/assemble.ts";
import type { KeptHostOptions } from "#host/kept/assemble.ts";
import { NO_NATS } from "#link/nats/files.ts";
import { type Caller, callerOf } from "./caller.ts";
import { cloneDatabase } from "./clone-database.ts";
import { FakeDriver } from "./fake-driver.ts";
import { type Person, type Program, person } from "./people.ts";

/** What replicas share: the database and the key ring. */
export interface Connection {
  host: string;
  user: string;
  database: string;
  keyRing: string;
}

/** Deep-partial of the configuration a test changes. */
export type ConfigChange = Record<string, unknown>;

export interface Installation extends AsyncDisposable {
  url: string;
  control: RunningControl;
  host: RunningHost;
  adminKey: string;
  /** Signs up a new account and returns a caller with its key. */
  account(change?: { jurisdiction?: string }): Promise<Caller & { accountId: string }>;
  /** A tenant as the operator makes it: a caller with an access token that acts for its organization. */
  tenant(name?: string): Promise<Caller & Tenant>;
  /** Somebody who signed in at the page: a caller with an access token of theirs. */
  person(program?: Program): Promise<Caller & Person>;
  /** A caller without a key. */
  anyone: Caller;
  /** The database, for a second installation on it. */
  connection: Connection;
  /** Stops the host and starts one on the same folder. */
  restartHost(): Promise<void>;
}

export interface Tenant {
  organizationId: string;
  accountId: string;
  clientId: string;
  clientSecret: string;
}

export { type Caller, callerOf, type Reply } from "./caller.ts";

export interface InstallationOptions {
  /** In the place of chance. */
  makeInstanceName?: () => string;
  config?: ConfigChange;
  driver?: (folder: string) => Driver<EndFacts>;
  /** Another control on the same database needs another name. */
  replica?: string;
  /** Another installation's `connection`: this one is a further replica of it. */
  database?: Connection;
  withHost?: boolean;
  /** Kept machines, with the ingress in front of them. */
  kept?: KeptDriver;
  /** Where people log in to machines that are for that. */
  ssh?: KeptHostOptions["ssh"];
  /** Beside any free ports on loopback. */
  ingress?: Partial<KeptHostOptions["ingress"]>;
}

export async function startInstallation(options: InstallationOptions = {}): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-test-"));
  const cloned = options.database === undefined ? await cloneDatabase() : null;
  const database = options.database ?? cloned!;
  if (options.database !== undefined) copyFileSync(options.database.keyRing, join(folder, "kek"));
  const adminKey = makeKey("cm_admin_");
  const base = {
    ...structuredClone(DEFAULT_CONFIG),
    http: { ...DEFAULT_CONFIG.http, port: 0 },
    database: {
      socket: database.host,
      user: database.user,
      name: database.database,
      urlFile: null,
      poolMax: 8,
    },
    link: { socket: join(folder, "link.sock"), nats: NO_NATS, broker: null, hostServers: [] },
    folder,
    attestation: {
      collateralFolder: null,
      kdsUrl: null,
      pcsUrl: null,
      pcsRootUrl: null,
      policyFile: null,
      broughtMax: 1000,
      broughtMiB: 128,
      snp: null,
    },
    blobs: { ...DEFAULT_CONFIG.blobs, folder: join(folder, "blobs") },
    operator: { keyHash: hashKey(adminKey).toString("hex"), keyPrefix: "cm_admin_" },
    replica: options.replica ?? "test-1",
    log: { level: (process.env.CASEMATE_TEST_LOG ?? "error") as ControlConfig["log"]["level"] },
  } satisfies ControlConfig;
  const config = resolveConfig(base, options.config ?? {}, {});
  const control = await startControl({
    config,
    version: "test",
    log: openLog(config.log.level, "test"),
    checkAnswers: true,
    ...(options.makeInstanceName && { makeInstanceName: options.makeInstanceName }),
  });
  const begin = () =>
    startHost({
      stateFolder: join(folder, "host"),
      link: { path: config.link.socket },
      drivers: [options.driver?.(folder) ?? new FakeDriver({ folder: join(folder, "machines") })],
      ceiling: {
        machines: 2000,
        memoryMiB: 8192,
        cpuMillis: 4000,
        pidsMax: 4096,
        memoryTotalMiB: 4_000_000,
        isolations: ["process"],
      },
      signer: { folder: join(folder, "signer"), kekPath: join(folder, "signer.kek"), uid: 63_901 },
      farewellMs: 500,
      ...(options.kept === undefined
        ? {}
        : {
            kept: {
              drivers: [options.kept],
              ceiling: { cpuMillis: 16_000, memoryMiB: 32_768, diskMiB: 1_048_576 },
              ingress: { host: "127.0.0.1", httpPort: 0, httpsPort: 0, ...options.ingress },
              ...(options.ssh !== undefined && { ssh: options.ssh }),
              ingressUid: 63_914,
              haltOnStop: false,
            },
          }),
      ...(process.env.CASEMATE_TEST_LOG
        ? { log: (event: string, facts: object) => console.log(event, facts) }
        : {}),
    });
  let host = options.withHost === false ? null : await begin();
  if (host !== null) await hostJoined(control.url);
  const anyone = callerOf(control.url, null);
  let made = 0;
  return {
    url: control.url,
    control,
    get host() {
      return host!;
    },
    adminKey,
    connection: {
      host: database.host,
      user: database.user,
      database: database.database,
      keyRing: join(folder, "kek"),
    },
    anyone,
    account: async (change = {}) => {
      // Not over HTTP: signing up is limited per address and minute, and has tests of its own.
      const email = `person${++made}-${Math.random().toString(36).slice(2)}@example.com`;
      const opened = await openAccount(control.db.run, { email, jurisdiction: "US", ...change });
      return Object.assign(callerOf(control.url, opened.key), { accountId: opened.accountId });
    },
    tenant: async (name = "acme") => {
      const { body } = await callerOf(control.url, adminKey)("POST", "/platform/v1/tenants", { name });
      const { client_id: clientId, client_secret: clientSecret } = body.oauth_client;
      const credentials = {
        grant_type: "client_credentials",
        client_id: clientId,
        client_secret: clientSecret,
      };
      const token = (await anyone("POST", "/cdb/oauth2/token", credentials)).body.access_token;
      return Object.assign(callerOf(control.url, token), {
        ...{ organizationId: body.organization_id, accountId: body.account_id, clientId, clientSecret },
      });
    },
    person: (program) => person(control.url, adminKey, program),
    restartHost: async () => {
      await host!.stop();
      host = await begin();
      await hostJoined(control.url);
    },
    [Symbol.asyncDispose]: async () => {
      await host?.stop();
      await control.close();
      await cloned?.[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function hostJoined(url: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if ((await fetch(`${url}/readyz`)).ok) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("the host did not join");
}
