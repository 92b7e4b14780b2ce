// SPDX-License-Identifier: Apache-2.0
/**
 * A nats-server of a test's own, on a free loopback port and with files in a folder of its own. It dies
 * with the test process, also when that is killed. `kill` is the loss of power; `start` comes back on
 * the same port with the same users, as a service does.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newNkey } from "#link/nats/access.ts";
import { natsConfig } from "#link/nats/config.ts";
import { replaceNatsConfig } from "#link/nats/reload.ts";
import { freePort } from "./free-port.ts";
import type { Requirement } from "./requirements.ts";

const READY_MS = 10_000;

export const natsServer: Requirement = {
  met: spawnSync("nats-server", ["--version"], { stdio: "ignore" }).status === 0,
  reason: "needs nats-server (apt-get install -y nats-server)",
};

export interface TestNats {
  url: string;
  port: number;
  /** Seeds by host id; `admit` adds to them. */
  controlSeed: string;
  seedOf(hostId: string): string;
  admit(hostId: string): Promise<void>;
  /** Removes the host's user and has the server read its configuration again. */
  revoke(hostId: string): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface NatsChoices {
  tls?: { certFile: string; keyFile: string };
  /** Hosts that enter with a password, by id. */
  passwords?: Record<string, string>;
}

export async function startNatsServer(hostIds: string[], choices: NatsChoices = {}): Promise<TestNats> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-nats-"));
  const configFile = join(folder, "nats.conf");
  const pidFile = join(folder, "nats.pid");
  const port = await freePort();
  const control = newNkey();
  const keys = new Map(hostIds.map((hostId) => [hostId, newNkey()]));

  const config = () =>
    natsConfig({
      listen: { host: "127.0.0.1", port },
      control: { publicKey: control.publicKey },
      hosts: [
        ...[...keys].map(([hostId, { publicKey }]) => ({ hostId, publicKey })),
        ...Object.entries(choices.passwords ?? {}).map(([hostId, password]) => ({ hostId, password })),
      ],
      ...(choices.tls ? { tls: choices.tls } : {}),
      pidFile,
    });
  const server = serverOf(configFile, port, join(folder, "nats.log"));
  const { start, kill } = server;
  const stop = async () => {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  };

  try {
    writeFileSync(configFile, config(), { mode: 0o600 });
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    controlSeed: control.seed,
    seedOf: (hostId) => keys.get(hostId)!.seed,
    async admit(hostId) {
      keys.set(hostId, newNkey());
      await replaceNatsConfig({ configFile, pidFile }, config());
    },
    async revoke(hostId) {
      keys.delete(hostId);
      await replaceNatsConfig({ configFile, pidFile }, config());
    },
    kill,
    start,
    stop,
  };
}

export interface NatsProcess {
  start(): Promise<void>;
  kill(): Promise<void>;
}

/** A server with a configuration that somebody else writes. */
export function serverOf(configFile: string, port: number, logFile: string): NatsProcess {
  let child: ChildProcess | undefined;
  return {
    async start() {
      const log = openSync(logFile, "a");
      child = spawn("setpriv", ["--pdeathsig=KILL", "nats-server", "-c", configFile], {
        stdio: ["ignore", log, log],
      });
      const until = performance.now() + READY_MS;
      while (!(await answers(port))) {
        if (child.exitCode !== null || performance.now() > until)
          throw new Error(`nats-server did not start: ${readFileSync(logFile, "utf8")}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    async kill() {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const exited = new Promise((resolve) => child!.once("exit", resolve));
      child.kill("SIGKILL");
      await exited;
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
