// SPDX-License-Identifier: Apache-2.0
/**
 * A directory of certificates of a test's own: Pebble, which really calls on whoever wants one. Its names
 * come from the name server that the test starts. It forgets everything when it ends, and dies with the
 * test process, also when that is killed.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { newLeafKey, openAuthority } from "#host/ingress/authority.ts";
import { freePort } from "./free-port.ts";
import type { Requirement } from "./requirements.ts";

const READY_MS = 10_000;

export const pebble: Requirement = {
  // Asked for what it can do, it says so and exits with 2.
  met: spawnSync("pebble", ["-help"], { stdio: "ignore" }).error === undefined,
  reason: "needs an ACME server (apt-get install -y pebble)",
};

export interface Pebble {
  directoryUrl: string;
  /** PEM of what signed for the directory itself. */
  caPem: string;
  /** PEM of what its certificates lead to; another after each start. */
  rootPem(): Promise<string>;
  stop(): Promise<void>;
  /** On the same port, with nothing remembered. */
  start(): Promise<void>;
  dispose(): Promise<void>;
  /** What it wrote. */
  log(): string;
}

export interface PebbleOptions {
  /** Where it looks names up, `address:port`. */
  nameServer: string;
  /** Where it asks for http-01 proofs. */
  httpPort: number;
}

export async function startPebble({ nameServer, httpPort }: PebbleOptions): Promise<Pebble> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-pebble-"));
  const [port, managementPort] = [await freePort(), await freePort()];
  const { authority } = await openAuthority(join(folder, "ca"), new Date());
  const key = await newLeafKey();
  const { certificatePem } = await authority.sign("localhost", key, new Date());
  writeFileSync(join(folder, "key.pem"), key.keyPem, { mode: 0o600 });
  writeFileSync(join(folder, "cert.pem"), certificatePem);
  writeFileSync(
    join(folder, "config.json"),
    JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${port}`,
        managementListenAddress: `127.0.0.1:${managementPort}`,
        certificate: join(folder, "cert.pem"),
        privateKey: join(folder, "key.pem"),
        httpPort,
        tlsPort: 1,
        ocspResponderURL: "",
        externalAccountBindingRequired: false,
      },
    }),
  );
  let child: ChildProcess | undefined;

  const ask = (path: string, at: number) =>
    new Promise<string>((resolve, reject) => {
      const options = { host: "127.0.0.1", servername: "localhost", port: at, path, ca: authority.caPem };
      request({ ...options, agent: false }, (answer) => text(answer).then(resolve, reject))
        .on("error", reject)
        .end();
    });
  const stop = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child!.once("exit", resolve));
    child.kill("SIGKILL");
    await exited;
  };
  const log = () => readFileSync(join(folder, "pebble.log"), "utf8");
  const start = async () => {
    const out = openSync(join(folder, "pebble.log"), "a");
    const config = join(folder, "config.json");
    child = spawn(
      "setpriv",
      ["--pdeathsig=KILL", "pebble", "-strict", "-config", config, "-dnsserver", nameServer],
      // Proofs are really asked for, at once; nonces are refused now and then, as it does by itself.
      { stdio: ["ignore", out, out], env: { PATH: process.env.PATH, PEBBLE_VA_NOSLEEP: "1" } },
    );
    for (const until = performance.now() + READY_MS; ; ) {
      if (await ask("/dir", port).catch(() => null)) return;
      if (child.exitCode !== null || performance.now() > until)
        throw new Error(`pebble did not start: ${log()}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const dispose = async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    directoryUrl: `https://localhost:${port}/dir`,
    caPem: authority.caPem,
    rootPem: () => ask("/roots/0", managementPort),
    ...{ start, stop, dispose, log },
  };
}
